"""Statements on what a provider of ours is to give back."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.store.tables import refund_orders

# From the payment that was kept for the ticket's purchase; the caller's own system gives back what it took itself.
_ORDER: Final = sa.text("""
    INSERT INTO refund_orders
        (event_id, order_id, purchase_id, cancellation_id, provider, payment_id, currency, amount, status, round,
         create_time, due_time, attempts)
    SELECT event_id, cancellation_id, payments.purchase_id, cancellation_id, payments.provider, payments.payment_id,
           cancellations.currency, refund_amount, 'PENDING', 1, :now, :now, 0
    FROM cancellations JOIN tickets USING (event_id, ticket_id)
    JOIN payments USING (event_id, purchase_id)
    WHERE event_id = :event_id AND cancellation_id = ANY (CAST(:cancellation_ids AS uuid[]))
      AND cancellations.status = 'REFUNDING' AND NOT refund_due AND payments.provider <> 'external'
""")


def order_refunds(connection: Connection, event_id: UUID, cancellation_ids: Collection[UUID], now: datetime) -> None:
    """Order what a provider of ours owes for cancellations that are REFUNDING."""
    ids = [str(cancellation_id) for cancellation_id in cancellation_ids]
    connection.execute(_ORDER, {"event_id": event_id, "cancellation_ids": ids, "now": now})


def insert(connection: Connection, order: RefundOrder) -> None:
    """Store a new order."""
    connection.execute(sa.insert(refund_orders).values(asdict(order)))


def find(connection: Connection, event_id: UUID, order_id: UUID) -> RefundOrder | None:
    """Lock an order until the transaction ends, and read it."""
    query = (
        sa.select(refund_orders)
        .where(refund_orders.c.event_id == event_id, refund_orders.c.order_id == order_id)
        .with_for_update(key_share=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else order_of(row)


def take_due(connection: Connection, now: datetime, limit: int) -> list[RefundOrder]:
    """Lock those that are due and that nobody else is looking at."""
    query = (
        sa.select(refund_orders)
        .where(refund_orders.c.due_time <= now)
        .order_by(refund_orders.c.due_time)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return [order_of(row) for row in connection.execute(query)]


def update(connection: Connection, order: RefundOrder) -> None:
    """Store an order over what there is of it; it is locked by us."""
    its = (refund_orders.c.event_id == order.event_id, refund_orders.c.order_id == order.order_id)
    connection.execute(sa.update(refund_orders).where(*its).values(asdict(order)))


def order_of(row: Row[Any]) -> RefundOrder:
    """Read an order from a row of its table."""
    return RefundOrder(**row._asdict() | {"status": RefundOrderStatus(row.status)})
