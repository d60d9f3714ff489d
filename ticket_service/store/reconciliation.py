"""Statements that read the recorded payments, refunds and disputes of one provider, to compare them with its own."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.findings import OwnPayment
from ticket_service.domain.purchases import PurchaseStatus
from ticket_service.domain.reconciliation import OwnRecords, RecordedCharge
from ticket_service.store.disputes import dispute_of
from ticket_service.store.outside_refunds import outside_refund_of
from ticket_service.store.refund_orders import order_of
from ticket_service.store.tables import (
    disputes,
    outside_refunds,
    payments,
    purchases,
    refund_orders,
    unmatched_payments,
)


def read_own_records(connection: Connection, provider: str) -> OwnRecords:
    """Read all records of a provider, for the audit."""
    columns = (payments.c[name] for name in ("payment_id", "purchase_id", "currency", "amount", "create_time"))
    charges = connection.execute(sa.select(*columns).where(payments.c.provider == provider))
    ordered = connection.execute(sa.select(refund_orders).where(refund_orders.c.provider == provider))
    outside = connection.execute(sa.select(outside_refunds).where(outside_refunds.c.provider == provider))
    disputed = connection.execute(sa.select(disputes).where(disputes.c.provider == provider))
    its_unmatched = sa.select(unmatched_payments.c.payment_id).where(unmatched_payments.c.provider == provider)
    unmatched = connection.execute(its_unmatched)
    its_held = (purchases.c.provider == provider, purchases.c.status == PurchaseStatus.HELD)
    held = connection.execute(sa.select(purchases.c.purchase_id).where(*its_held))
    return OwnRecords(
        charges=tuple(RecordedCharge(**row._asdict()) for row in charges),
        orders=tuple(order_of(row) for row in ordered),
        held=frozenset(held.scalars()),
        outside_refunds=tuple(outside_refund_of(row) for row in outside),
        disputes=tuple(dispute_of(row) for row in disputed),
        unmatched=frozenset(unmatched.scalars()),
    )


def read_own_payments(connection: Connection, provider: str, payment_ids: Sequence[str]) -> list[OwnPayment]:
    """Read what is recorded about payments of a provider, in the order of their ids in the argument."""
    ids = list(payment_ids)
    paid = {
        row.payment_id: row
        for row in connection.execute(
            sa.select(payments.c.payment_id, payments.c.purchase_id, payments.c.event_id).where(
                payments.c.provider == provider, payments.c.payment_id.in_(ids)
            )
        )
    }
    refunded_of = unmatched_payments.c
    unmatched = {
        row.payment_id: row.refunded
        for row in connection.execute(
            sa.select(refunded_of.payment_id, refunded_of.refunded).where(
                refunded_of.provider == provider, refunded_of.payment_id.in_(ids)
            )
        )
    }
    keys = {(row.event_id, row.purchase_id) for row in paid.values()}
    orders = [order_of(row) for row in _of_purchases(connection, refund_orders, provider, keys)]
    outside = [outside_refund_of(row) for row in _of_purchases(connection, outside_refunds, provider, keys)]
    disputed = [dispute_of(row) for row in _of_purchases(connection, disputes, provider, keys)]
    return [
        OwnPayment(
            provider,
            payment_id,
            paid[payment_id].purchase_id if payment_id in paid else None,
            paid[payment_id].event_id if payment_id in paid else None,
            {str(order.order_id): order for order in orders if order.payment_id == payment_id},
            {one.refund_id: one for one in outside if one.payment_id == payment_id},
            {one.provider_id: one for one in disputed if one.payment_id == payment_id},
            unmatched.get(payment_id),
        )
        for payment_id in ids
    ]


def _of_purchases(
    connection: Connection, table: sa.Table, provider: str, keys: set[tuple[UUID, UUID]]
) -> Sequence[sa.Row[Any]]:
    """Read the rows about purchases; `keys` are the ids of event and purchase."""
    if not keys:
        return []
    query = sa.select(table).where(
        sa.tuple_(table.c.event_id, table.c.purchase_id).in_(sorted(keys)), table.c.provider == provider
    )
    return connection.execute(query).all()
