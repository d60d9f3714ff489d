"""What stands here of the payments and refunds of one provider, for comparing it with the provider's own books."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.purchases import PurchaseStatus
from ticket_service.domain.reconciliation import Ours, TakenHere
from ticket_service.store.refund_orders import order_of
from ticket_service.store.tables import payments, purchases, refund_orders


def read_ours(connection: Connection, provider: str) -> Ours:
    """Read it all."""
    columns = (payments.c[name] for name in ("payment_id", "purchase_id", "currency", "amount", "create_time"))
    taken = connection.execute(sa.select(*columns).where(payments.c.provider == provider))
    ordered = connection.execute(sa.select(refund_orders).where(refund_orders.c.provider == provider))
    its_held = (purchases.c.provider == provider, purchases.c.status == PurchaseStatus.HELD)
    held = connection.execute(sa.select(purchases.c.purchase_id).where(*its_held))
    return Ours(
        tuple(TakenHere(**row._asdict()) for row in taken),
        tuple(order_of(row) for row in ordered),
        frozenset(held.scalars()),
    )
