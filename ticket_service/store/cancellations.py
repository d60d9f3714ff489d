"""Statements that read and change cancellations, and release cancelled tickets."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.events import TicketType
from ticket_service.domain.queries import CancellationQuery
from ticket_service.domain.refund_policy import RefundBasis
from ticket_service.store.access import ANY, Condition, ticket_of_user, ticket_visible_to
from ticket_service.store.tables import cancellations, events, offers, tickets
from ticketing.chassis.callers import Caller

_CANCELLATIONS: Final = (
    sa.select(cancellations, tickets.c.issue)
    .join(
        tickets,
        sa.and_(tickets.c.event_id == cancellations.c.event_id, tickets.c.ticket_id == cancellations.c.ticket_id),
    )
    .join(events, events.c.event_id == cancellations.c.event_id)
)
# The columns of the table; the row of the ticket contains the issue.
_STORED: Final = tuple(field.name for field in fields(Cancellation) if field.name != "issue")
# The columns that change after a cancellation is requested.
_CHANGING: Final = (
    "status",
    "refund_amount",
    "refund_id",
    "failure",
    "check_in_time",
    "complete_time",
    "due_time",
    "attempts",
)

# A ticket is cancelled once the gates have lost it. A check-in that was reported before is annulled, or an incident: a gate
# has uploaded it after the revocation.
_CANCEL_TICKETS: Final = sa.text("""
    UPDATE tickets
    SET status = revoked.status, revision = revoked.revision, check_in_time = NULL, update_time = :now
    FROM unnest(CAST(:ticket_ids AS uuid[]), CAST(:statuses AS text[]), CAST(:revisions AS bigint[]))
        AS revoked (ticket_id, status, revision)
    WHERE tickets.event_id = :event_id AND tickets.ticket_id = revoked.ticket_id
    RETURNING tickets.ticket_type
""")


def find_cancellation(connection: Connection, cancellation_id: UUID, condition: Condition = ANY) -> Cancellation | None:
    """Read one cancellation; the condition may be on its ticket and event too."""
    query = _CANCELLATIONS.where(cancellations.c.cancellation_id == cancellation_id, condition)
    row = connection.execute(query).one_or_none()
    return None if row is None else _cancellation(row)


def list_cancellations(
    connection: Connection, caller: Caller, query: CancellationQuery, before: UUID | None, limit: int
) -> list[Cancellation]:
    """Read cancellations of tickets that a caller may see, newest first."""
    selected = (
        _CANCELLATIONS.where(ticket_visible_to(caller), ticket_of_user(caller, query.user_id))
        .order_by(cancellations.c.cancellation_id.desc())
        .limit(limit)
    )
    if query.status is not None:
        selected = selected.where(cancellations.c.status == query.status)
    if query.event_id is not None:
        selected = selected.where(cancellations.c.event_id == query.event_id)
    if before is not None:
        selected = selected.where(cancellations.c.cancellation_id < before)
    return [_cancellation(row) for row in connection.execute(selected)]


def in_event(event_id: UUID) -> Condition:
    """Select the cancellations of an event."""
    return cancellations.c.event_id == event_id


def lock_cancellation(connection: Connection, cancellation_id: UUID, condition: Condition) -> Cancellation | None:
    """Lock one cancellation until the transaction ends; return it."""
    query = _CANCELLATIONS.where(cancellations.c.cancellation_id == cancellation_id, condition)
    row = connection.execute(query.with_for_update(key_share=True, of=cancellations)).one_or_none()
    return None if row is None else _cancellation(row)


def lock_pending(connection: Connection, event_id: UUID, cancellation_ids: Sequence[UUID]) -> list[Cancellation]:
    """Lock the cancellations that are still PENDING, and their tickets, in the order of the ticket ids."""
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


def lock_due(connection: Connection, now: datetime, limit: int) -> list[Cancellation]:
    """Lock due cancellations that no other process has locked."""
    query = (
        _CANCELLATIONS.where(cancellations.c.due_time <= now)
        .order_by(cancellations.c.due_time)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=cancellations)
    )
    return [_cancellation(row) for row in connection.execute(query)]


def insert_cancellations(connection: Connection, new: Sequence[Cancellation]) -> None:
    """Insert cancellations of locked tickets."""
    if new:
        connection.execute(sa.insert(cancellations), [{name: getattr(one, name) for name in _STORED} for one in new])


def update_cancellations(connection: Connection, changed: Sequence[Cancellation]) -> None:
    """Update locked cancellations."""
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


def release_tickets(
    connection: Connection, event_id: UUID, revoked: Sequence[Cancellation], revision: int, now: datetime
) -> None:
    """Cancel tickets of one event and release their places; the event and the tickets are locked.

    `revision` is the present one of the event; each ticket takes a revision after it.
    """
    cancelled = connection.execute(
        _CANCEL_TICKETS,
        {
            "event_id": event_id,
            "ticket_ids": [str(one.ticket_id) for one in revoked],
            "statuses": [one.ticket_status.value for one in revoked],
            "revisions": [revision + place for place in range(1, len(revoked) + 1)],
            "now": now,
        },
    )
    places: dict[TicketType, int] = {}
    for row in cancelled:
        ticket_type = TicketType(row.ticket_type)
        places[ticket_type] = places.get(ticket_type, 0) + 1
    connection.execute(
        sa.update(events)
        .where(events.c.event_id == event_id)
        .values(revision=revision + len(revoked), reserved=events.c.reserved - len(revoked))
    )
    # For a type without an offer the statement finds no row.
    for ticket_type, count in places.items():
        connection.execute(
            sa.update(offers)
            .where(offers.c.event_id == event_id, offers.c.ticket_type == ticket_type)
            .values(reserved=offers.c.reserved - count)
        )


def _cancellation(row: Row[Any]) -> Cancellation:
    basis = None if row.refund_basis is None else RefundBasis(row.refund_basis)
    return Cancellation(**row._asdict() | {"status": CancellationStatus(row.status), "refund_basis": basis})
