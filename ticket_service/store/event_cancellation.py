"""Statements on event cancellations, in the table `callings_off`."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.cancellations import CancellationStatus
from ticket_service.domain.event_cancellation import EventCancellation, OpenTicket
from ticket_service.store.events import RESERVED_STATUSES
from ticket_service.store.tables import cancellations, event_cancellations, tickets
from ticketing.chassis.parsing import NIL

_COLUMNS: Final = tuple(field.name for field in fields(EventCancellation))


def find(connection: Connection, event_id: UUID) -> EventCancellation | None:
    """Read the cancellation of an event; None: it was never cancelled."""
    row = connection.execute(
        sa.select(event_cancellations).where(event_cancellations.c.event_id == event_id)
    ).one_or_none()
    return None if row is None else _event_cancellation(row)


def insert(connection: Connection, event_cancellation: EventCancellation) -> None:
    """Insert the cancellation of a locked event."""
    connection.execute(sa.insert(event_cancellations), [_row(event_cancellation)])


def update(connection: Connection, event_cancellation: EventCancellation) -> None:
    """Update a locked event cancellation."""
    statement = sa.update(event_cancellations).where(event_cancellations.c.event_id == event_cancellation.event_id)
    connection.execute(statement.values(_row(event_cancellation)))


def lock(connection: Connection, event_id: UUID) -> EventCancellation | None:
    """Lock an event cancellation until the transaction ends; return it."""
    query = (
        sa.select(event_cancellations).where(event_cancellations.c.event_id == event_id).with_for_update(key_share=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _event_cancellation(row)


def lock_due(connection: Connection, now: datetime) -> EventCancellation | None:
    """Lock the longest due event cancellation that no other process has locked."""
    query = (
        sa.select(event_cancellations)
        .where(event_cancellations.c.due_time <= now)
        .order_by(event_cancellations.c.due_time)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _event_cancellation(row)


def lock_open_tickets(connection: Connection, event_id: UUID, after: UUID | None, limit: int) -> list[OpenTicket]:
    """Lock the next tickets that take up a place, in the order of their ids; `after` None starts at the first."""
    query = (
        sa.select(tickets.c.ticket_id, tickets.c.issue, tickets.c.price, tickets.c.check_in_time)
        .where(
            tickets.c.event_id == event_id,
            tickets.c.ticket_id > (after or NIL),
            tickets.c.status.in_(RESERVED_STATUSES),
        )
        .order_by(tickets.c.ticket_id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    return [OpenTicket(**row._asdict()) for row in connection.execute(query)]


def refund_pending_in_full(connection: Connection, event_id: UUID, ticket_ids: Sequence[UUID]) -> set[UUID]:
    """Grant a full refund to the PENDING cancellations of these tickets; return the ids of their tickets."""
    statement = (
        sa.update(cancellations)
        .where(
            cancellations.c.event_id == event_id,
            cancellations.c.ticket_id.in_(ticket_ids),
            cancellations.c.status == CancellationStatus.PENDING,
            tickets.c.event_id == cancellations.c.event_id,
            tickets.c.ticket_id == cancellations.c.ticket_id,
        )
        .values(refund_amount=tickets.c.price, refund_percent=100)
        .returning(cancellations.c.ticket_id)
    )
    return set(connection.execute(statement).scalars())


def _row(event_cancellation: EventCancellation) -> dict[str, object]:
    return {name: getattr(event_cancellation, name) for name in _COLUMNS}


def _event_cancellation(row: Row[Any]) -> EventCancellation:
    return EventCancellation(**row._asdict())
