"""The statements of the replica: older data never replaces newer data, and the feed never undoes a revocation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from scan_service.domain.feed import FeedPage, FeedPosition, ReplicaPosition
from scan_service.store.device_reports import mark_all_unreported
from scan_service.store.tables import devices, events, feed, feed_cursors
from ticketing.admission.tickets import Event, Ticket
from ticketing.chassis.arrays import array, ids, times

# The statement locks the tickets in the order of their ids, as every batch does.
_SAVE_TICKETS: Final = sa.text("""
    INSERT INTO tickets (event_id, ticket_id, known, ticket_type, status, valid_from_time, valid_until_time, issue,
                         code_digest, token_digest, purchase_id, generation, revision, inside, sequence,
                         reported_sequence)
    SELECT event_id, ticket_id, true, ticket_type, status, valid_from_time, valid_until_time, issue,
           code_digest, token_digest, purchase_id, :generation, revision, false, 0, 0
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:types AS text[]),
                CAST(:statuses AS text[]), CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[]),
                CAST(:issues AS integer[]), CAST(:code_digests AS bytea[]), CAST(:token_digests AS bytea[]),
                CAST(:purchase_ids AS uuid[]), CAST(:revisions AS bigint[]))
        AS new(event_id, ticket_id, ticket_type, status, valid_from_time, valid_until_time, issue, code_digest,
               token_digest, purchase_id, revision)
    ORDER BY ticket_id
    ON CONFLICT (event_id, ticket_id) DO UPDATE SET
        known = true,
        ticket_type = EXCLUDED.ticket_type,
        status = CASE WHEN tickets.status IN ('CANCELLED', 'REFUNDED') AND EXCLUDED.status IN ('ACTIVE', 'BLOCKED')
                      THEN tickets.status ELSE EXCLUDED.status END,
        valid_from_time = EXCLUDED.valid_from_time,
        valid_until_time = EXCLUDED.valid_until_time,
        issue = greatest(tickets.issue, EXCLUDED.issue),
        -- A revocation may already have raised the issue: the older code and token remain invalid.
        code_digest = CASE WHEN EXCLUDED.issue < tickets.issue THEN tickets.code_digest ELSE EXCLUDED.code_digest END,
        token_digest = CASE WHEN EXCLUDED.issue < tickets.issue THEN tickets.token_digest
                            ELSE EXCLUDED.token_digest END,
        -- A ticket service of the version before sends none.
        purchase_id = coalesce(EXCLUDED.purchase_id, tickets.purchase_id),
        generation = EXCLUDED.generation,
        revision = EXCLUDED.revision,
        changed_by = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
    WHERE (tickets.generation, tickets.revision) < (EXCLUDED.generation, EXCLUDED.revision)
""")

_KNOWN: Final = sa.text(
    "SELECT event_id, generation, revision FROM events WHERE event_id = ANY (CAST(:event_ids AS uuid[]))"
)

_SAVE_CURSORS: Final = sa.text("""
    INSERT INTO feed_cursors (event_id, revision)
    SELECT event_id, revision FROM unnest(CAST(:event_ids AS uuid[]), CAST(:revisions AS bigint[]))
        AS new(event_id, revision)
    ORDER BY event_id
    ON CONFLICT (event_id) DO UPDATE SET revision = greatest(feed_cursors.revision, EXCLUDED.revision)
""")


def read_position(connection: Connection, ended_after: datetime) -> FeedPosition:
    """Return the position of the replica, without the events that ended before `ended_after`."""
    epoch: str = connection.execute(sa.select(feed.c.epoch)).scalar_one()
    over = sa.exists().where(events.c.event_id == feed_cursors.c.event_id, events.c.valid_until_time < ended_after)
    rows = connection.execute(sa.select(feed_cursors).where(~over)).all()
    return FeedPosition(epoch, {str(row.event_id): row.revision for row in rows})


def read_event_position(connection: Connection, event_id: UUID, now: datetime) -> ReplicaPosition:
    """Return the position of the replica for one event, and the devices that are connected for it at `now`."""
    its_cursor = sa.select(feed_cursors.c.revision).where(feed_cursors.c.event_id == event_id).scalar_subquery()
    connected = (
        sa.select(sa.func.count())
        .where(devices.c.gate_event_id == event_id, devices.c.connected_until > now, devices.c.revoke_time.is_(None))
        .scalar_subquery()
    )
    row = connection.execute(
        sa.select(feed.c.epoch, feed.c.whole_time, its_cursor.label("revision"), connected.label("devices"))
    ).one()
    return ReplicaPosition(row.epoch, row.revision, row.whole_time, row.devices)


class PositionChangedError(Exception):
    """Raised where the replica begins anew or another process follows another epoch: the stream has to begin again."""


def save_pages(connection: Connection, pages: Sequence[FeedPage], followed: str) -> None:
    """Save pages of one epoch, in their order; `followed` is the epoch of the replica as the stream knows it.

    Raises:
        PositionChangedError: the replica has another epoch.
    """
    # The lock matters while two processes follow the feed, after the leader lost its connection.
    known = connection.execute(sa.select(feed.c.epoch, feed.c.generation).with_for_update()).one()
    if known.epoch != followed:
        raise PositionChangedError
    generation = known.generation
    if pages[0].epoch != known.epoch:
        generation += 1
        connection.execute(feed.update().values(epoch=pages[0].epoch, generation=generation, whole_time=None))
        connection.execute(feed_cursors.delete())
        mark_all_unreported(connection)
    _save_events(connection, pages, generation)
    # Each ticket is saved once: the last page contains its present state.
    tickets = {
        (ticket.event_id, ticket.ticket_id): (ticket, revision) for page in pages for ticket, revision in page.tickets
    }
    if tickets:
        _save_tickets(connection, generation, list(tickets.values()))
    cursors = {page.event.event_id: page.revision for page in pages}
    connection.execute(_SAVE_CURSORS, {"event_ids": ids(cursors), "revisions": array(cursors.values())})


def mark_complete(connection: Connection, now: datetime, followed: str) -> None:
    """Record that the replica is complete as of `now`; raise PositionChangedError as `save_pages` does."""
    if not connection.execute(feed.update().where(feed.c.epoch == followed).values(whole_time=now)).rowcount:
        raise PositionChangedError


def _save_events(connection: Connection, pages: Sequence[FeedPage], generation: int) -> None:
    # The upsert waits for all scans in progress even where it changes nothing, so the versions are read first.
    rows = connection.execute(_KNOWN, {"event_ids": ids({page.event.event_id for page in pages})})
    known = {event_id: (its_generation, revision) for event_id, its_generation, revision in rows}
    # Scans lock events in the order of their ids too.
    for page in sorted(pages, key=lambda page: page.event.event_id):
        version = (generation, page.event_revision)
        if known.get(page.event.event_id, (-1, -1)) < version:
            _save_event(connection, page.event, *version)
            known[page.event.event_id] = version


def _save_event(connection: Connection, event: Event, generation: int, revision: int) -> None:
    values = {
        "organizer_id": event.organizer_id,
        "name": event.name,
        "status": event.status,
        "admission_policy": event.policy,
        "valid_from_time": event.valid_from_time,
        "valid_until_time": event.valid_until_time,
        "time_zone": event.time_zone,
        "day_change_hour": event.day_change_hour,
        "generation": generation,
        "revision": revision,
    }
    # The values lack `closed`: an event closed by RevokeEvent remains closed.
    connection.execute(
        insert(events)
        .values(event_id=event.event_id, closed=False, **values)
        .on_conflict_do_update(index_elements=[events.c.event_id], set_=values)
    )


def _save_tickets(connection: Connection, generation: int, changed: Sequence[tuple[Ticket, int]]) -> None:
    tickets = [ticket for ticket, _ in changed]
    connection.execute(
        _SAVE_TICKETS,
        {
            "generation": generation,
            "event_ids": ids(ticket.event_id for ticket in tickets),
            "ticket_ids": ids(ticket.ticket_id for ticket in tickets),
            "types": array(ticket.ticket_type for ticket in tickets),
            "statuses": array(ticket.status for ticket in tickets),
            "begins": times([ticket.valid_from_time for ticket in tickets]),
            "ends": times([ticket.valid_until_time for ticket in tickets]),
            "issues": array(ticket.issue for ticket in tickets),
            "code_digests": array(f"\\x{ticket.code_digest.hex()}" for ticket in tickets),
            "token_digests": array(
                None if ticket.token_digest is None else f"\\x{ticket.token_digest.hex()}" for ticket in tickets
            ),
            "purchase_ids": ids([ticket.purchase_id for ticket in tickets]),
            "revisions": array(revision for _, revision in changed),
        },
    )
