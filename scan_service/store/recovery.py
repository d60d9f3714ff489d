"""Statements that list the state of events, tickets and keys for a restored ticket service."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.recovery import KnownEvent, KnownKey, KnownRevocation, KnownTicket
from scan_service.store.keys import read_keys
from scan_service.store.tables import events, feed_cursors, retired_keys, revocations, tickets
from ticketing.admission.tickets import AdmissionPolicy, EventStatus, TicketStatus, TicketType


def list_events(connection: Connection, after: UUID, limit: int) -> list[KnownEvent]:
    """Return up to `limit` events after an id, by id."""
    revision = sa.func.coalesce(feed_cursors.c.revision, 0).label("head")
    query = (
        sa.select(events, revision)
        .outerjoin(feed_cursors, feed_cursors.c.event_id == events.c.event_id)
        .where(events.c.event_id > after)
        .order_by(events.c.event_id)
        .limit(limit)
    )
    return [
        KnownEvent(
            event_id=row.event_id,
            organizer_id=row.organizer_id,
            name=row.name,
            status=EventStatus(row.status),
            policy=AdmissionPolicy(row.admission_policy),
            valid_from_time=row.valid_from_time,
            valid_until_time=row.valid_until_time,
            time_zone=row.time_zone,
            day_change_hour=row.day_change_hour,
            closed=row.closed,
            revision=row.head,
        )
        for row in connection.execute(query)
    ]


def list_tickets(connection: Connection, event_id: UUID, after: UUID, limit: int, revoked: int) -> list[KnownTicket]:
    """Return up to `limit` tickets of an event after an id, by id, each with up to `revoked` of its revocations."""
    query = (
        sa.select(tickets)
        .where(tickets.c.event_id == event_id, tickets.c.ticket_id > after)
        .order_by(tickets.c.ticket_id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    decided = _revocations(connection, event_id, [row.ticket_id for row in rows])
    return [
        KnownTicket(
            ticket_id=row.ticket_id,
            ticket_type=None if row.ticket_type is None else TicketType(row.ticket_type),
            status=TicketStatus(row.status),
            valid_from_time=row.valid_from_time,
            valid_until_time=row.valid_until_time,
            issue=row.issue,
            purchase_id=row.purchase_id,
            is_replicated=row.known,
            check_in_time=row.check_in_time,
            sequence=row.sequence,
            revocations=decided[row.ticket_id][-revoked:],
        )
        for row in rows
    ]


def list_keys(connection: Connection) -> tuple[Sequence[KnownKey], Sequence[KnownKey]]:
    """Return all keys by id, and those that are retired for good by their public key."""
    known = [
        KnownKey(key_id, bytes(key.key), key.activate_time, key.retire_time)
        for key_id, key in sorted(read_keys(connection).items())
    ]
    rows = connection.execute(sa.select(retired_keys).order_by(retired_keys.c.public_key))
    return known, [KnownKey(None, bytes(row.public_key), None, row.retire_time) for row in rows]


def _revocations(
    connection: Connection, event_id: UUID, ticket_ids: Sequence[UUID]
) -> defaultdict[UUID, list[KnownRevocation]]:
    query = (
        sa.select(revocations)
        .where(revocations.c.event_id == event_id, revocations.c.ticket_id.in_(ticket_ids))
        .order_by(revocations.c.create_time, revocations.c.revocation_id)
    )
    decided: defaultdict[UUID, list[KnownRevocation]] = defaultdict(list)
    for row in connection.execute(query):
        decided[row.ticket_id].append(KnownRevocation(row.revocation_id, row.create_time, row.check_in_time))
    return decided
