"""Statements that sum up the tickets of an event for the preview of its cancellation."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.cancellation_preview import TicketGroup
from ticket_service.domain.tickets import CANCELLED_STATUSES
from ticket_service.store.tables import purchases, tickets


def begin_read_only(connection: Connection) -> None:
    """Make the transaction refuse every change; this must be its first statement."""
    connection.execute(sa.text("SET TRANSACTION READ ONLY"))


def group_tickets(connection: Connection, event_id: UUID) -> list[TicketGroup]:
    """Sum up the tickets of an event by everything on which the outcome of a cancellation depends."""
    # As in store.event_sales: without statistics PostgreSQL may choose a nested loop, which takes a minute.
    connection.execute(sa.text("SET LOCAL enable_nestloop = off"))
    left = tickets.c.price - tickets.c.refunded
    keys = (
        tickets.c.status.in_(CANCELLED_STATUSES).label("is_cancelled"),
        tickets.c.check_in_time.is_not(None).label("is_checked_in"),
        (left == 0).label("is_free"),
        purchases.c.provider,
        purchases.c.currency,
    )
    query = (
        sa.select(
            *keys,
            sa.func.count().label("tickets"),
            sa.cast(sa.func.sum(tickets.c.price), sa.BigInteger).label("paid"),
            sa.cast(sa.func.sum(left), sa.BigInteger).label("left"),
        )
        .join(
            purchases,
            sa.and_(purchases.c.event_id == tickets.c.event_id, purchases.c.purchase_id == tickets.c.purchase_id),
        )
        .where(tickets.c.event_id == event_id, purchases.c.event_id == event_id)
        .group_by(*keys)
    )
    return [TicketGroup(**row._asdict()) for row in connection.execute(query)]


def count_held_places(connection: Connection, event_id: UUID) -> int:
    """Count the places of the unpaid holds of an event."""
    held = sa.select(purchases.c["items"]).where(purchases.c.event_id == event_id, purchases.c.due_time.is_not(None))
    return sum(quantity for items in connection.execute(held).scalars() for _, quantity, _ in items)
