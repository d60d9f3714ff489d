"""The statements that lock one scan with its ticket, and change the scan or the admission state."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import TICKET_COLUMNS, event_of, scan_of, ticket_of
from scan_service.store.tables import events, scans, tickets
from ticketing.admission.scans import DenialReason, Scan, ScanType, Verdict, group_scan_id
from ticketing.admission.tickets import Event, Ticket


@dataclass(frozen=True, slots=True)
class LockedScan:
    """A scan whose event and ticket are locked."""

    event: Event
    scan: Scan
    # The value is None where the scan presented no ticket of this event.
    ticket: Ticket | None
    # All admitted scans of the ticket at this event, annulled or not, and its denied exits.
    scans: Sequence[Scan]


def visible_to(organizer_id: str | None, bound_to: Collection[UUID]) -> Sequence[sa.ColumnElement[bool]]:
    """Select scans at events of `organizer_id` (None: of any organizer) and of `bound_to` (empty: no restriction)."""
    conditions = [] if organizer_id is None else [events.c.organizer_id == organizer_id]
    return [*conditions, events.c.event_id.in_(bound_to)] if bound_to else conditions


def lock_scans(
    connection: Connection, scan_id: UUID, visible: Sequence[sa.ColumnElement[bool]] = ()
) -> Sequence[LockedScan]:
    """Lock the event and the ticket of a scan, in the order of every batch.

    Return the scan, and behind the scan of a group those of its further tickets, which are locked too; return none
    where the scan is not visible. The count of a group never changes, so it may be read before the locks.
    """
    keys = connection.execute(
        sa.select(scans.c.event_id, scans.c.ticket_id, scans.c.group_admission["count"].as_integer().label("people"))
        .join(events, events.c.event_id == scans.c.event_id)
        .where(scans.c.scan_id == scan_id, *visible)
        .order_by(scans.c.record_time)
    ).first()
    if keys is None:
        return []
    event_row = sa.select(sa.func.to_jsonb(events.table_valued())).where(events.c.event_id == keys.event_id)
    event = event_of(connection.execute(event_row.with_for_update(read=True)).scalar_one())
    people = keys.people or 1
    locked = _lock_tickets(connection, keys.event_id, keys.ticket_id, with_group=people > 1)
    # The scans are read after the tickets are locked: another transaction may have annulled them meanwhile.
    scan_ids = [group_scan_id(scan_id, index) for index in range(people)]
    query = sa.select(sa.func.to_jsonb(scans.table_valued())).where(scans.c.event_id == keys.event_id)
    found = [scan_of(row) for row in connection.execute(query.where(scans.c.scan_id.in_(scan_ids))).scalars()]
    history = read_histories(
        connection, keys.event_id, {scan.ticket_id for scan in found if scan.ticket_id is not None}
    )
    result = [
        # A ticket for another event has no row here, but an offline device may have admitted it.
        LockedScan(event, scan, locked.get(scan.ticket_id), history[scan.ticket_id] if scan.ticket_id else [scan])
        for scan in sorted(found, key=lambda scan: scan_ids.index(scan.scan_id))
    ]
    # An offline device may have admitted a group by a forged token: its group is unknown, and so not locked.
    return [one for one in result if one.ticket is not None or one.scan.scan_id == scan_id]


def lock_latest_check_in(connection: Connection, event_id: UUID, ticket_id: UUID) -> LockedScan | None:
    """Lock the latest check-in of a ticket as `lock_scans` does; return None where the ticket is not checked in."""
    key = (tickets.c.event_id == event_id, tickets.c.ticket_id == ticket_id)
    scan_id = connection.execute(sa.select(tickets.c.entry_scan_id).where(*key)).scalar()
    locked = [] if scan_id is None else lock_scans(connection, scan_id)
    return locked[0] if locked else None


def save_violations(connection: Connection, violating: Sequence[Scan]) -> None:
    """Store the violation of each scan."""
    for scan in violating:
        key = (scans.c.event_id == scan.gate_event_id, scans.c.scan_id == scan.scan_id)
        connection.execute(scans.update().where(*key).values(doubt=scan.violation))


def save_annulments(connection: Connection, settled: Sequence[Scan]) -> None:
    """Store the annulment times of scans that differ from the stored ones."""
    for scan in settled:
        times = (scan.annul_time, scan.claimed_annul_time)
        stored = sa.tuple_(scans.c.annul_time, scans.c.claimed_annul_time)
        key = (scans.c.event_id == scan.gate_event_id, scans.c.scan_id == scan.scan_id)
        connection.execute(
            scans.update()
            .where(*key, stored.is_distinct_from(sa.tuple_(*times)))
            .values(annul_time=scan.annul_time, claimed_annul_time=scan.claimed_annul_time)
        )


def save_admission(connection: Connection, ticket: Ticket) -> None:
    """Store the admission state of a ticket."""
    check_in = ticket.admission.latest_check_in
    connection.execute(
        tickets.update()
        .where(tickets.c.event_id == ticket.event_id, tickets.c.ticket_id == ticket.ticket_id)
        .values(
            check_in_time=ticket.admission.check_in_time,
            entry_scan_id=None if check_in is None else check_in.scan_id,
            entry_time=None if check_in is None else check_in.time,
            entry_location=None if check_in is None else check_in.location,
            inside=ticket.admission.inside,
            sequence=ticket.admission.sequence,
            changed_by=sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
        )
    )


def _lock_tickets(
    connection: Connection, event_id: UUID, ticket_id: UUID | None, *, with_group: bool
) -> Mapping[UUID | None, Ticket]:
    named = sa.and_(tickets.c.event_id == event_id, tickets.c.ticket_id == ticket_id)
    condition: sa.ColumnElement[bool] = tickets.c.ticket_id == ticket_id
    if with_group:
        purchase = sa.select(tickets.c.purchase_id).where(named).scalar_subquery()
        condition = sa.or_(condition, tickets.c.purchase_id == purchase)
    query = sa.select(*(tickets.c[name] for name in TICKET_COLUMNS)).where(tickets.c.event_id == event_id, condition)
    rows = connection.execute(query.order_by(tickets.c.ticket_id).with_for_update())
    return {ticket.ticket_id: ticket for ticket in (ticket_of(tuple(row)) for row in rows)}


def read_histories(
    connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]
) -> Mapping[UUID | None, Sequence[Scan]]:
    """Read the admitted scans of each ticket, annulled or not, and its denied exits."""
    denied_exit = sa.and_(scans.c.scan_type == ScanType.CHECK_OUT, scans.c.denial_reason == DenialReason.NOT_CHECKED_IN)
    query = sa.select(sa.func.to_jsonb(scans.table_valued())).where(
        scans.c.event_id == event_id,
        scans.c.ticket_id.in_(ticket_ids),
        sa.or_(scans.c.verdict == Verdict.ADMITTED, denied_exit),
    )
    histories = dict[UUID | None, list[Scan]]((ticket_id, []) for ticket_id in ticket_ids)
    for row in connection.execute(query).scalars():
        scan = scan_of(row)
        histories[scan.ticket_id].append(scan)
    return histories
