"""Statements on orders to refund through a payment provider of this service."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.disputes import DisputeStatus
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.store.tables import disputes, refund_orders, ticket_refunds

NOT_CONFIGURED: Final = "the payment provider is not configured"

# An order refunds the payment that completed the purchase of the ticket. The caller's own system refunds its payments.
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
    RETURNING cancellation_id
""")


# The payment that completed the purchase of the ticket.
_PAYER: Final = sa.text("""
    SELECT cancellation_id, payments.provider, tickets.price - tickets.refunded AS refundable
    FROM cancellations JOIN tickets USING (event_id, ticket_id)
    JOIN payments USING (event_id, purchase_id)
    WHERE event_id = :event_id AND cancellation_id = ANY (CAST(:cancellation_ids AS uuid[])) AND NOT refund_due
""")


def find_payers(
    connection: Connection, event_id: UUID, cancellation_ids: Collection[UUID]
) -> dict[UUID, tuple[str, int]]:
    """Return the payment provider and the refundable price of each cancellation whose ticket was paid."""
    ids = [str(cancellation_id) for cancellation_id in cancellation_ids]
    rows = connection.execute(_PAYER, {"event_id": event_id, "cancellation_ids": ids})
    return {row.cancellation_id: (row.provider, row.refundable) for row in rows}


def order_refunds(
    connection: Connection, event_id: UUID, cancellation_ids: Collection[UUID], now: datetime
) -> set[UUID]:
    """Order the refunds of REFUNDING cancellations whose payment a provider of this service captured.

    Returns:
        The ids of these cancellations; the caller's own payment system has to refund the others.
    """
    ids = [str(cancellation_id) for cancellation_id in cancellation_ids]
    ordered = connection.execute(_ORDER, {"event_id": event_id, "cancellation_ids": ids, "now": now})
    return set(ordered.scalars())


def insert(connection: Connection, order: RefundOrder) -> None:
    """Insert an order."""
    connection.execute(sa.insert(refund_orders).values(asdict(order)))


def lock(connection: Connection, event_id: UUID, order_id: UUID) -> RefundOrder | None:
    """Lock an order until the transaction ends; return it."""
    query = (
        sa.select(refund_orders)
        .where(refund_orders.c.event_id == event_id, refund_orders.c.order_id == order_id)
        .with_for_update(key_share=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else order_of(row)


def lock_of_payments(connection: Connection, event_id: UUID, purchase_id: UUID) -> list[RefundOrder]:
    """Lock the orders to refund late or second payments of a purchase, oldest first."""
    query = (
        sa.select(refund_orders)
        .where(
            refund_orders.c.event_id == event_id,
            refund_orders.c.purchase_id == purchase_id,
            refund_orders.c.cancellation_id.is_(None),
            ~sa.exists().where(
                ticket_refunds.c.event_id == event_id, ticket_refunds.c.ticket_refund_id == refund_orders.c.order_id
            ),
        )
        .order_by(refund_orders.c.create_time, refund_orders.c.order_id)
        .with_for_update(key_share=True)
    )
    return [order_of(row) for row in connection.execute(query)]


def find_failed(connection: Connection, event_id: UUID, purchase_id: UUID, payment_id: str) -> list[RefundOrder]:
    """Read the FAILED orders of one payment, oldest first."""
    is_failed = refund_orders.c.status == RefundOrderStatus.FAILED
    return _orders_of_payment(connection, event_id, purchase_id, payment_id, is_failed)


def find_credited(connection: Connection, event_id: UUID, purchase_id: UUID, payment_id: str) -> list[RefundOrder]:
    """Read the orders of one payment that outside refunds cover in part or in full, newest first."""
    return _orders_of_payment(connection, event_id, purchase_id, payment_id, refund_orders.c.credited > 0)[::-1]


def _orders_of_payment(
    connection: Connection, event_id: UUID, purchase_id: UUID, payment_id: str, condition: sa.ColumnElement[bool]
) -> list[RefundOrder]:
    query = (
        sa.select(refund_orders)
        .where(
            refund_orders.c.event_id == event_id,
            refund_orders.c.purchase_id == purchase_id,
            refund_orders.c.payment_id == payment_id,
            condition,
        )
        .order_by(refund_orders.c.create_time, refund_orders.c.order_id)
    )
    return [order_of(row) for row in connection.execute(query)]


def lock_due(connection: Connection, provider: str, now: datetime, limit: int) -> list[RefundOrder]:
    """Lock due orders of one provider that no other process has locked; first tries and repetitions take turns.

    The orders of a payment with an OPEN dispute wait.
    """
    is_disputed = sa.exists().where(
        disputes.c.event_id == refund_orders.c.event_id,
        disputes.c.purchase_id == refund_orders.c.purchase_id,
        disputes.c.payment_id == refund_orders.c.payment_id,
        disputes.c.status == DisputeStatus.OPEN,
    )
    is_first = refund_orders.c.attempts == 0
    due = [
        [
            order_of(row)
            for row in connection.execute(
                sa.select(refund_orders)
                .where(refund_orders.c.due_time <= now, refund_orders.c.provider == provider, of_class, ~is_disputed)
                .order_by(refund_orders.c.due_time)
                .limit(limit)
                .with_for_update(key_share=True, skip_locked=True, of=refund_orders)
            )
        ]
        for of_class in (is_first, ~is_first)
    ]
    return [order for turn in zip_longest(*due) for order in turn if order is not None][:limit]


def postpone_others(connection: Connection, providers: Collection[str], now: datetime, until: datetime) -> int:
    """Make due orders of all other providers due again at `until`; return the number of them.

    They have a failure, so that the organizer sees it and may pay by hand.
    """
    its = (refund_orders.c.due_time <= now, refund_orders.c.provider.not_in(providers))
    return connection.execute(
        sa.update(refund_orders).where(*its).values(due_time=until, failure=NOT_CONFIGURED)
    ).rowcount


def update(connection: Connection, order: RefundOrder) -> None:
    """Update a locked order."""
    its = (refund_orders.c.event_id == order.event_id, refund_orders.c.order_id == order.order_id)
    connection.execute(sa.update(refund_orders).where(*its).values(asdict(order)))


def order_of(row: Row[Any]) -> RefundOrder:
    """Convert a row of `refund_orders`."""
    return RefundOrder(**row._asdict() | {"status": RefundOrderStatus(row.status)})
