"""The statements that look at all of a ticket's scans: to take one back, or to doubt them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import TICKET_COLUMNS, event_of, scan_of, ticket_of
from scan_service.store.tables import events, scans, tickets
from ticketing.admission.scans import Scan, Verdict
from ticketing.admission.tickets import Event, Ticket


@dataclass(frozen=True, slots=True)
class LockedRows:
    """What an annulment holds locked."""

    event: Event
    scan: Scan
    # Absent where no ticket of this event was shown.
    ticket: Ticket | None
    # All that its gates let through, annulled or not.
    scans: Sequence[Scan]


def visible_to(organizer_id: str | None, bound_to: Collection[UUID]) -> Sequence[sa.ColumnElement[bool]]:
    """Say whose scans are there: those at an organizer's events, of these at `bound_to` alone where it names any."""
    conditions = [] if organizer_id is None else [events.c.organizer_id == organizer_id]
    return [*conditions, events.c.event_id.in_(bound_to)] if bound_to else conditions


def hold(connection: Connection, scan_id: UUID, visible: Sequence[sa.ColumnElement[bool]] = ()) -> LockedRows | None:
    """Lock a scan, its event and its ticket, in the order of every batch; None where no such scan is visible."""
    found = connection.execute(
        sa.select(scans.c.event_id, scans.c.ticket_id)
        .join(events, events.c.event_id == scans.c.event_id)
        .where(scans.c.scan_id == scan_id, *visible)
        .order_by(scans.c.record_time)
    ).first()
    if found is None:
        return None
    event_row = sa.select(sa.func.to_jsonb(events.table_valued())).where(events.c.event_id == found.event_id)
    event = event_of(connection.execute(event_row.with_for_update(read=True)).scalar_one())
    ticket_row = connection.execute(
        sa.select(*(tickets.c[name] for name in TICKET_COLUMNS))
        .where(tickets.c.event_id == found.event_id, tickets.c.ticket_id == found.ticket_id)
        .with_for_update()
    ).first()
    ticket = None if ticket_row is None else ticket_of(tuple(ticket_row))
    # Read once the ticket is held: what was first found may have been annulled meanwhile.
    scan = _scan(connection, found.event_id, scan_id)
    # Also of a ticket for another event, which has no row at this one: a device may have let it in alone.
    return LockedRows(event, scan, ticket, [scan] if found.ticket_id is None else _admitted(connection, scan))


def lock_admission(connection: Connection, event_id: UUID, ticket_id: UUID) -> LockedRows | None:
    """Lock as `hold` does the latest check-in of a ticket; None where none stands."""
    key = (tickets.c.event_id == event_id, tickets.c.ticket_id == ticket_id)
    scan_id = connection.execute(sa.select(tickets.c.entry_scan_id).where(*key)).scalar()
    return None if scan_id is None else hold(connection, scan_id)


def save_violations(connection: Connection, violating: Sequence[Scan]) -> None:
    """Store the violation of each of these scans."""
    for scan in violating:
        key = (scans.c.event_id == scan.gate_event_id, scans.c.scan_id == scan.scan_id)
        connection.execute(scans.update().where(*key).values(doubt=scan.violation))


def save(connection: Connection, scan: Scan) -> None:
    """Note that a scan was taken back."""
    key = (scans.c.event_id == scan.gate_event_id, scans.c.scan_id == scan.scan_id)
    connection.execute(scans.update().where(*key).values(annul_time=scan.annul_time))


def save_admission(connection: Connection, ticket: Ticket) -> None:
    """Note how a ticket stands since."""
    entry = ticket.admission.entry
    connection.execute(
        tickets.update()
        .where(tickets.c.event_id == ticket.event_id, tickets.c.ticket_id == ticket.ticket_id)
        .values(
            check_in_time=ticket.admission.check_in_time,
            entry_scan_id=None if entry is None else entry.scan_id,
            entry_time=None if entry is None else entry.time,
            entry_location=None if entry is None else entry.location,
            inside=ticket.admission.inside,
            sequence=ticket.admission.sequence,
            changed_by=sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
        )
    )


def _admitted(connection: Connection, scan: Scan) -> Sequence[Scan]:
    query = sa.select(sa.func.to_jsonb(scans.table_valued())).where(
        scans.c.event_id == scan.gate_event_id,
        scans.c.ticket_id == scan.ticket_id,
        scans.c.verdict == Verdict.ADMITTED,
    )
    return [scan_of(row) for row in connection.execute(query).scalars()]


def _scan(connection: Connection, event_id: UUID, scan_id: UUID) -> Scan:
    query = sa.select(sa.func.to_jsonb(scans.table_valued())).where(
        scans.c.event_id == event_id, scans.c.scan_id == scan_id
    )
    return scan_of(connection.execute(query).scalar_one())
