"""Statements on cancellations."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.events import TicketType
from ticket_service.store.tables import cancellations, events, offers, tickets
from ticketing.chassis.authentication import Caller, Role

Condition = sa.ColumnElement[bool]

_CANCELLATIONS: Final = (
    sa.select(cancellations, tickets.c.issue)
    .join(
        tickets,
        sa.and_(tickets.c.event_id == cancellations.c.event_id, tickets.c.ticket_id == cancellations.c.ticket_id),
    )
    .join(events, events.c.event_id == cancellations.c.event_id)
)
# The table's columns; the issue is the ticket's.
_STORED: Final = tuple(field.name for field in fields(Cancellation) if field.name != "issue")
# What changes after a cancellation was asked for.
_CHANGING: Final = ("status", "refund_id", "failure", "check_in_time", "complete_time", "due_time", "attempts")

_GIVE_BACK: Final = sa.text("""
    UPDATE tickets
    SET status = given.status, revision = given.revision, update_time = :now
    FROM unnest(CAST(:ticket_ids AS uuid[]), CAST(:statuses AS text[]), CAST(:revisions AS bigint[]))
        AS given (ticket_id, status, revision)
    WHERE tickets.event_id = :event_id AND tickets.ticket_id = given.ticket_id
    RETURNING tickets.ticket_type
""")


def confirmable_by(caller: Caller) -> Condition:
    """Say whose refunds the caller may confirm: not a holder's as such, for nobody confirms a refund to themselves."""
    return sa.true() if caller.is_any(Role.SERVICE) else events.c.organizer_id == caller.subject


def is_of_organizer(subject: str) -> Condition:
    """Say whose events' cancellations they are."""
    return events.c.organizer_id == subject


def find_cancellations(
    connection: Connection, conditions: Sequence[Condition], limit: int | None = None
) -> list[Cancellation]:
    """Read cancellations, newest first; conditions may be on their tickets and events too."""
    query = _CANCELLATIONS.where(*conditions).order_by(cancellations.c.cancellation_id.desc()).limit(limit)
    return [_cancellation(row) for row in connection.execute(query)]


def lock_cancellation(connection: Connection, conditions: Sequence[Condition]) -> Cancellation | None:
    """Read one cancellation and keep others from changing it until the transaction ends."""
    query = _CANCELLATIONS.where(*conditions).with_for_update(key_share=True, of=cancellations)
    row = connection.execute(query).one_or_none()
    return None if row is None else _cancellation(row)


def lock_pending(connection: Connection, event_id: UUID, cancellation_ids: Sequence[UUID]) -> list[Cancellation]:
    """Lock those that are still PENDING and their tickets, in the order of the tickets' ids."""
    query = (
        _CANCELLATIONS.where(
            cancellations.c.event_id == event_id,
            cancellations.c.cancellation_id.in_(cancellation_ids),
            cancellations.c.status == CancellationStatus.PENDING,
        )
        .order_by(tickets.c.ticket_id)
        .with_for_update(key_share=True, of=[tickets, cancellations])
    )
    return [_cancellation(row) for row in connection.execute(query)]


def take_due(connection: Connection, now: datetime, limit: int) -> list[Cancellation]:
    """Lock those that are due and that nobody else is looking at."""
    query = (
        _CANCELLATIONS.where(cancellations.c.due_time <= now)
        .order_by(cancellations.c.due_time)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=cancellations)
    )
    return [_cancellation(row) for row in connection.execute(query)]


def insert_cancellations(connection: Connection, new: Sequence[Cancellation]) -> None:
    """Store new cancellations; their tickets are locked by us."""
    if new:
        connection.execute(sa.insert(cancellations), [{name: getattr(one, name) for name in _STORED} for one in new])


def update_cancellations(connection: Connection, changed: Sequence[Cancellation]) -> None:
    """Store cancellations over what there is of them; they are locked by us."""
    if not changed:
        return
    statement = (
        sa.update(cancellations)
        .where(
            cancellations.c.event_id == sa.bindparam("its_event"),
            cancellations.c.cancellation_id == sa.bindparam("its_id"),
        )
        .values({name: sa.bindparam(f"new_{name}") for name in _CHANGING})
    )
    rows = [
        {f"new_{name}": getattr(one, name) for name in _CHANGING}
        | {"its_event": one.event_id, "its_id": one.cancellation_id}
        for one in changed
    ]
    connection.execute(statement, rows)


def give_back(
    connection: Connection, event_id: UUID, revoked: Sequence[Cancellation], revision: int, now: datetime
) -> None:
    """Cancel the tickets of one event and put their places back on sale.

    Args:
        connection: has locked the event, then the tickets.
        event_id: the event.
        revoked: cancellations of tickets that no gate admits any more.
        revision: the event's; each ticket takes one after it.
        now: the present time.
    """
    given = connection.execute(
        _GIVE_BACK,
        {
            "event_id": event_id,
            "ticket_ids": [str(one.ticket_id) for one in revoked],
            "statuses": [one.ticket_status.value for one in revoked],
            "revisions": [revision + place for place in range(1, len(revoked) + 1)],
            "now": now,
        },
    )
    places: dict[TicketType, int] = {}
    for row in given:
        kind = TicketType(row.ticket_type)
        places[kind] = places.get(kind, 0) + 1
    connection.execute(
        sa.update(events)
        .where(events.c.event_id == event_id)
        .values(revision=revision + len(revoked), reserved=events.c.reserved - len(revoked))
    )
    _free_offers(connection, event_id, places)


def _free_offers(connection: Connection, event_id: UUID, places: Mapping[TicketType, int]) -> None:
    # A type without an offer has nothing to count; the statement then finds no row.
    for kind, count in places.items():
        connection.execute(
            sa.update(offers)
            .where(offers.c.event_id == event_id, offers.c.ticket_type == kind)
            .values(reserved=offers.c.reserved - count)
        )


def _cancellation(row: Row[Any]) -> Cancellation:
    return Cancellation(**row._asdict() | {"status": CancellationStatus(row.status)})
