"""Statements on outside refunds and on payments without a purchase."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.reconciliation import ProviderCharge
from ticket_service.store.tables import outside_refunds, unmatched_payments


def store(connection: Connection, outside: OutsideRefund) -> None:
    """Insert or update an outside refund of a locked purchase."""
    values = asdict(outside)
    statement = postgresql.insert(outside_refunds).values(values)
    keys = ["event_id", "provider", "refund_id"]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def of_payment(connection: Connection, event_id: UUID, provider: str, payment_id: str) -> list[OutsideRefund]:
    """Return the outside refunds of a payment, oldest first."""
    table = outside_refunds
    query = (
        sa.select(table)
        .where(table.c.event_id == event_id, table.c.provider == provider, table.c.payment_id == payment_id)
        .order_by(table.c.create_time, table.c.refund_id)
    )
    return [outside_refund_of(row) for row in connection.execute(query)]


def of_purchases(connection: Connection, keys: Collection[tuple[UUID, UUID]]) -> list[OutsideRefund]:
    """Return the outside refunds of purchases, which are named by their events and their ids, oldest first."""
    table = outside_refunds
    its_key = sa.tuple_(table.c.event_id, table.c.purchase_id)
    query = sa.select(table).where(its_key.in_(keys)).order_by(table.c.create_time, table.c.refund_id)
    return [outside_refund_of(row) for row in connection.execute(query)]


def outside_refund_of(row: Row[Any]) -> OutsideRefund:
    """Convert a row of `outside_refunds`."""
    return OutsideRefund(**row._asdict() | {"kind": OutsideRefundKind(row.kind)})


def record_unmatched(
    connection: Connection, provider: str, charge: ProviderCharge, refunded: int, now: datetime
) -> bool:
    """Record a captured payment without a purchase, and its refunded amount; return whether it is new."""
    table = unmatched_payments
    new = postgresql.insert(table).values(
        provider=provider,
        payment_id=charge.payment_id,
        purchase_id=charge.purchase_id,
        event_id=charge.event_id,
        currency=charge.currency,
        amount=charge.amount,
        refunded=refunded,
        create_time=now,
    )
    is_new = connection.execute(new.on_conflict_do_nothing()).rowcount == 1
    if not is_new:
        its = (table.c.provider == provider, table.c.payment_id == charge.payment_id)
        connection.execute(sa.update(table).where(*its).values(refunded=refunded))
    return is_new
