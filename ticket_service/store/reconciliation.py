"""Statements that read the recorded payments and refund orders of one provider."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.purchases import PurchaseStatus
from ticket_service.domain.reconciliation import OwnRecords, RecordedCharge
from ticket_service.store.refund_orders import order_of
from ticket_service.store.tables import payments, purchases, refund_orders


def read_own_records(connection: Connection, provider: str) -> OwnRecords:
    """Read all records of a provider, to compare them with its own."""
    columns = (payments.c[name] for name in ("payment_id", "purchase_id", "currency", "amount", "create_time"))
    charges = connection.execute(sa.select(*columns).where(payments.c.provider == provider))
    ordered = connection.execute(sa.select(refund_orders).where(refund_orders.c.provider == provider))
    its_held = (purchases.c.provider == provider, purchases.c.status == PurchaseStatus.HELD)
    held = connection.execute(sa.select(purchases.c.purchase_id).where(*its_held))
    return OwnRecords(
        tuple(RecordedCharge(**row._asdict()) for row in charges),
        tuple(order_of(row) for row in ordered),
        frozenset(held.scalars()),
    )
