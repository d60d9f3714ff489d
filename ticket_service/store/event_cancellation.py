"""Statements on event cancellations, in the table `callings_off`."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.cancellations import CancellationStatus
from ticket_service.domain.event_cancellation import EventCancellation, OpenTicket, OwedTicket
from ticket_service.domain.refund_policy import RefundBasis
from ticket_service.store.events import RESERVED_STATUSES
from ticket_service.store.tables import cancellations, event_cancellations, events, tickets
from ticketing.chassis.parsing import NIL


def insert(connection: Connection, event_cancellation: EventCancellation) -> None:
    """Insert the cancellation of a locked event."""
    connection.execute(sa.insert(event_cancellations), [asdict(event_cancellation)])


def update(connection: Connection, event_cancellation: EventCancellation) -> None:
    """Update a locked event cancellation."""
    statement = sa.update(event_cancellations).where(event_cancellations.c.event_id == event_cancellation.event_id)
    connection.execute(statement.values(asdict(event_cancellation)))


def lock(connection: Connection, event_id: UUID) -> EventCancellation | None:
    """Lock the cancellation of an event until the transaction ends; return None if the event was never cancelled."""
    query = sa.select(event_cancellations).where(event_cancellations.c.event_id == event_id)
    return _found(connection, query.with_for_update(key_share=True))


def lock_due(connection: Connection, now: datetime) -> EventCancellation | None:
    """Lock the event cancellation that is due first, of those that no other process has locked."""
    query = (
        sa.select(event_cancellations)
        .where(event_cancellations.c.due_time <= now)
        .order_by(event_cancellations.c.due_time)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return _found(connection, query)


def lock_open_tickets(connection: Connection, event_id: UUID, after: UUID | None, limit: int) -> list[OpenTicket]:
    """Lock the next tickets that take up a place, in the order of their ids; `after` None starts at the first."""
    query = (
        sa.select(
            tickets.c.ticket_id,
            tickets.c.issue,
            (tickets.c.price - tickets.c.refunded).label("refundable"),
            tickets.c.check_in_time,
        )
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
        .values(
            refund_amount=tickets.c.price - tickets.c.refunded,
            refund_percent=100,
            refund_basis=RefundBasis.EVENT_CANCELLED,
        )
        .returning(cancellations.c.ticket_id)
    )
    return set(connection.execute(statement).scalars())


def note_annulments(connection: Connection, event_ids: Sequence[UUID], ticket_ids: Sequence[UUID]) -> list[OwedTicket]:
    """Record that no check-in of these locked tickets stands; return those that are owed a cancellation.

    A PENDING cancellation notes it, because the scan service may have answered before the annulment. A ticket is owed a
    cancellation if its event is cancelled and the ticket has no cancellation that is not REJECTED.
    """
    its = list(zip(event_ids, ticket_ids, strict=True))
    connection.execute(
        sa.update(cancellations)
        .where(sa.tuple_(cancellations.c.event_id, cancellations.c.ticket_id).in_(its))
        .where(cancellations.c.status == CancellationStatus.PENDING)
        .values(check_in_annulled=True)
    )
    is_cancelled = sa.exists().where(
        cancellations.c.event_id == tickets.c.event_id,
        cancellations.c.ticket_id == tickets.c.ticket_id,
        cancellations.c.status != CancellationStatus.REJECTED,
    )
    query = (
        sa.select(
            event_cancellations,
            tickets.c.ticket_id,
            tickets.c.issue,
            (tickets.c.price - tickets.c.refunded).label("refundable"),
            tickets.c.check_in_time,
            events.c.currency,
        )
        .join(event_cancellations, event_cancellations.c.event_id == tickets.c.event_id)
        .join(events, events.c.event_id == tickets.c.event_id)
        .where(sa.tuple_(tickets.c.event_id, tickets.c.ticket_id).in_(its), sa.not_(is_cancelled))
        .order_by(tickets.c.event_id, tickets.c.ticket_id)
    )
    return [_owed(row) for row in connection.execute(query)]


def _owed(row: Row[Any]) -> OwedTicket:
    stored = row._asdict()
    event_cancellation = EventCancellation(**{field.name: stored[field.name] for field in fields(EventCancellation)})
    ticket = OpenTicket(**{field.name: stored[field.name] for field in fields(OpenTicket)})
    return OwedTicket(event_cancellation, ticket, row.currency)


def _found(connection: Connection, query: sa.Select[Any]) -> EventCancellation | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else EventCancellation(**row._asdict())
