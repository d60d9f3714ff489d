"""The statement that lists the refunds that are owed and not made yet."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.owed_refunds import OwedRefund, OwedRefundQuery, OwedRefundStatus
from ticket_service.store.access import event_administered_by
from ticket_service.store.tables import cancellations, events, payments, refund_orders, ticket_refunds, tickets
from ticketing.chassis.callers import Caller

_NO_ID: Final = sa.cast(sa.null(), sa.UUID)
# Without an order, the caller's own payment system has to refund.
_STATUS: Final = sa.case(
    (refund_orders.c.order_id.is_(None), OwedRefundStatus.REQUESTED.value),
    (refund_orders.c.failure.is_not(None), OwedRefundStatus.REFUSED.value),
    else_=OwedRefundStatus.PENDING.value,
)
# Outside refunds cover a part of the amount.
_CREDITED: Final = sa.func.coalesce(refund_orders.c.credited, 0)
_PROGRESS: Final = (
    _STATUS.label("status"),
    refund_orders.c.failure,
    sa.func.coalesce(refund_orders.c.attempts, 0).label("attempts"),
    refund_orders.c.due_time.label("next_try_time"),
)


def list_owed(
    connection: Connection, caller: Caller, query: OwedRefundQuery, after: tuple[datetime, UUID] | None, limit: int
) -> list[OwedRefund]:
    """Read refunds owed for the events that a caller administers, by since_time, then owed_id."""
    owed = sa.union_all(_of_cancellations(), _of_tickets(), _of_payments()).subquery("owed")
    selected = (
        sa.select(owed)
        .join(events, events.c.event_id == owed.c.event_id)
        .where(event_administered_by(caller))
        .order_by(owed.c.since_time, owed.c.owed_id)
        .limit(limit)
    )
    if query.event_id is not None:
        selected = selected.where(owed.c.event_id == query.event_id)
    if query.status is not None:
        selected = selected.where(owed.c.status == query.status)
    if after is not None:
        selected = selected.where(sa.tuple_(owed.c.since_time, owed.c.owed_id) > sa.tuple_(*after))
    rows = connection.execute(selected)
    return [OwedRefund(**row._asdict() | {"status": OwedRefundStatus(row.status)}) for row in rows]


def count_owed(connection: Connection, limit: int) -> list[tuple[OwedRefundStatus, int, datetime]]:
    """Count the owed refunds of all events by status, with the oldest since_time of each; at most `limit` of each kind.

    The kinds are cancellations, refunds without a cancellation, and late payments.
    """
    parts = [part.limit(limit).subquery() for part in (_of_cancellations(), _of_tickets(), _of_payments())]
    owed = sa.union_all(*(sa.select(part.c.status, part.c.since_time) for part in parts)).subquery("owed")
    query = sa.select(owed.c.status, sa.func.count(), sa.func.min(owed.c.since_time)).group_by(owed.c.status)
    return [(OwedRefundStatus(status), count, since) for status, count, since in connection.execute(query)]


# Each part joins its orders by their whole key: one join for all parts compared every refund of an event with every
# order of the event.
def _of_cancellations() -> sa.Select[Any]:
    its_ticket = sa.and_(
        tickets.c.event_id == cancellations.c.event_id, tickets.c.ticket_id == cancellations.c.ticket_id
    )
    its_payment = sa.and_(
        payments.c.event_id == tickets.c.event_id,
        payments.c.purchase_id == tickets.c.purchase_id,
        sa.not_(payments.c.refund_due),
    )
    its_order = sa.and_(
        refund_orders.c.event_id == cancellations.c.event_id,
        refund_orders.c.order_id == cancellations.c.cancellation_id,
    )
    return (
        sa.select(
            cancellations.c.event_id,
            cancellations.c.cancellation_id.label("owed_id"),
            tickets.c.purchase_id,
            cancellations.c.ticket_id,
            cancellations.c.cancellation_id,
            _NO_ID.label("ticket_refund_id"),
            cancellations.c.currency,
            (cancellations.c.refund_amount - _CREDITED).label("amount"),
            payments.c.provider,
            payments.c.payment_id,
            cancellations.c.create_time.label("since_time"),
            *_PROGRESS,
        )
        .join(tickets, its_ticket)
        .join(payments, its_payment)
        .outerjoin(refund_orders, its_order)
        .where(cancellations.c.status.in_(("REFUNDING", "REFUND_FAILED")))
    )


def _of_tickets() -> sa.Select[Any]:
    its_order = sa.and_(
        refund_orders.c.event_id == ticket_refunds.c.event_id,
        refund_orders.c.order_id == ticket_refunds.c.ticket_refund_id,
    )
    return (
        sa.select(
            ticket_refunds.c.event_id,
            ticket_refunds.c.ticket_refund_id.label("owed_id"),
            ticket_refunds.c.purchase_id,
            ticket_refunds.c.ticket_id,
            _NO_ID.label("cancellation_id"),
            ticket_refunds.c.ticket_refund_id,
            ticket_refunds.c.currency,
            (ticket_refunds.c.amount - _CREDITED).label("amount"),
            ticket_refunds.c.provider,
            ticket_refunds.c.payment_id,
            ticket_refunds.c.create_time.label("since_time"),
            *_PROGRESS,
        )
        .outerjoin(refund_orders, its_order)
        .where(ticket_refunds.c.status == "REFUNDING")
    )


def _of_payments() -> sa.Select[Any]:
    # A late or second payment is refunded as a whole, so no other order refunds it.
    its_order = sa.and_(
        refund_orders.c.event_id == payments.c.event_id,
        refund_orders.c.provider == payments.c.provider,
        refund_orders.c.payment_id == payments.c.payment_id,
    )
    key = payments.c.provider + sa.literal("/") + payments.c.payment_id
    return (
        sa.select(
            payments.c.event_id,
            sa.cast(sa.func.md5(key), sa.UUID).label("owed_id"),
            payments.c.purchase_id,
            _NO_ID.label("ticket_id"),
            _NO_ID.label("cancellation_id"),
            _NO_ID.label("ticket_refund_id"),
            payments.c.currency,
            (payments.c.amount - _CREDITED).label("amount"),
            payments.c.provider,
            payments.c.payment_id,
            payments.c.create_time.label("since_time"),
            *_PROGRESS,
        )
        .outerjoin(refund_orders, its_order)
        .where(payments.c.refund_due, payments.c.refund_id.is_(None))
    )
