"""Statements of the feed: the revisions of events, and the changes after a revision."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.events import AdmissionPolicy, EventStatus, TicketType
from ticket_service.domain.feed import GateEvent, GateTicket, Page
from ticket_service.domain.gate_replica import Head
from ticket_service.domain.tickets import TicketStatus
from ticket_service.store.tables import events, feed, tickets

# The version of the sent fields. Version 2 added the purchase of GROUP tickets. A higher one changes the epoch, so a
# replica is filled anew, whichever of the two services is upgraded first and also while processes of two versions run.
_FIELDS: Final = 2
# The lateral join reads each event by the index on (event_id, revision): an event with many changes slows no other.
_TICKETS: Final = sa.text("""
    SELECT ticket.*
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:afters AS bigint[])) AS cursor (event_id, after)
    CROSS JOIN LATERAL (
        SELECT event_id, CAST(ticket_id AS text), ticket_type, status, valid_from_time, valid_until_time,
               code_digest, token_digest, issue, revision,
               CASE WHEN ticket_type = 'GROUP' THEN CAST(purchase_id AS text) ELSE '' END
        FROM tickets
        WHERE tickets.event_id = cursor.event_id AND tickets.revision > cursor.after
        ORDER BY tickets.revision
        LIMIT :limit
    ) AS ticket
    ORDER BY ticket.event_id, ticket.revision
""")

# The columns that gates need: with a hundred events on sale, each poll reads all of them.
_EVENTS: Final = sa.text("""
    SELECT event_id, name, status, admission_policy, coalesce(doors_open_time, start_time) AS valid_from_time,
           end_time, organizer_id, revision, changed_revision, time_zone, day_change_hour
    FROM events WHERE event_id = ANY (CAST(:event_ids AS uuid[])) ORDER BY event_id
""")

_HAVE: Final = sa.text("""
    SELECT count(*)
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:revisions AS bigint[]))
        AS sent (event_id, ticket_id, revision)
    JOIN tickets USING (event_id, ticket_id)
    WHERE tickets.revision >= sent.revision
""")


def epoch(connection: Connection) -> str:
    """Return the epoch of the revisions of this database, as this version of the service sends their rows."""
    return f"{connection.execute(sa.select(feed.c.epoch)).scalar_one()}.{_FIELDS}"


def have_all(connection: Connection, sent: Mapping[UUID, tuple[UUID, int]]) -> bool:
    """Return whether each of these tickets, by event, still exists with its revision or a later one."""
    if not sent:
        return True
    parameters = {
        "event_ids": [str(event_id) for event_id in sent],
        "ticket_ids": [str(ticket_id) for ticket_id, _ in sent.values()],
        "revisions": [revision for _, revision in sent.values()],
    }
    return bool(connection.execute(_HAVE, parameters).scalar_one() == len(sent))


def head(connection: Connection, event_id: UUID, ticket_id: UUID | None) -> Head | None:
    """Read the newest state of an event and of one of its tickets, if an id is given; None where one is missing."""
    own_epoch = epoch(connection)
    ticket_revision = sa.null() if ticket_id is None else tickets.c.revision
    source = sa.join(events, feed, sa.true())
    if ticket_id is not None:
        is_of_event = tickets.c.event_id == events.c.event_id
        source = source.join(tickets, sa.and_(is_of_event, tickets.c.ticket_id == ticket_id))
    query = sa.select(events.c.revision, ticket_revision.label("ticket_revision"), feed.c.follow_time)
    query = query.select_from(source).where(events.c.event_id == event_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else Head(own_epoch, row.revision, row.ticket_revision, row.follow_time)


def note_follower(connection: Connection, now: datetime) -> None:
    """Record that a scan service follows the feed, unless another session has locked the row: the feed must not wait."""
    free = sa.select(feed.c.one).with_for_update(skip_locked=True).scalar_subquery()
    is_older = sa.or_(feed.c.follow_time.is_(None), feed.c.follow_time < now)
    connection.execute(sa.update(feed).where(feed.c.one == free, is_older).values(follow_time=now))


def live_heads(connection: Connection, ended_after: datetime) -> dict[UUID, int]:
    """Return the revisions of events that end after a time."""
    return _heads(connection, events.c.end_time > ended_after)


def named_heads(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the revisions of these events."""
    return _heads(connection, events.c.event_id == sa.any_(sa.bindparam("ids", list(event_ids), sa.ARRAY(sa.UUID))))


def _heads(connection: Connection, condition: sa.ColumnElement[bool]) -> dict[UUID, int]:
    rows = connection.execute(sa.select(events.c.event_id, events.c.revision).where(condition))
    return {row.event_id: row.revision for row in rows}


def pages(connection: Connection, afters: Mapping[UUID, int], limit: int) -> list[Page]:
    """Return the changes of each event after its revision, at most `limit` tickets of an event.

    The transaction must be REPEATABLE READ: the tickets and the event's revision must come from one snapshot, otherwise
    a ticket that commits between the two reads would be skipped for good.
    """
    found: dict[UUID, list[GateTicket]] = defaultdict(list)
    parameters = {"event_ids": [str(event_id) for event_id in afters], "afters": list(afters.values()), "limit": limit}
    for event_id, *columns in connection.execute(_TICKETS, parameters):
        ticket_id, ticket_type, status, starts, ends, code, token, issue, revision, purchase_id = columns
        digest = None if token is None else bytes(token)
        found[event_id].append(
            GateTicket(
                ticket_id,
                TicketType(ticket_type),
                TicketStatus(status),
                starts,
                ends,
                bytes(code),
                digest,
                issue,
                revision,
                purchase_id,
            )
        )
    rows = connection.execute(_EVENTS, {"event_ids": parameters["event_ids"]})
    return [_page(row, found[row.event_id], limit) for row in rows]


def _page(row: Row[Any], tickets: list[GateTicket], limit: int) -> Page:
    revision = tickets[-1].revision if len(tickets) == limit else row.revision
    event = GateEvent(
        event_id=row.event_id,
        name=row.name,
        status=EventStatus(row.status),
        admission_policy=AdmissionPolicy(row.admission_policy),
        valid_from_time=row.valid_from_time,
        valid_until_time=row.end_time,
        organizer_id=row.organizer_id,
        changed_revision=row.changed_revision,
        time_zone=row.time_zone,
        day_change_hour=row.day_change_hour,
    )
    return Page(event, tuple(tickets), revision, is_cut=revision < row.revision)
