"""The query of the purchase that a mail is about."""

from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.purchases import Purchase
from ticket_service.store.purchases import find_purchases
from ticket_service.store.tables import purchases


def find_purchase(connection: Connection, event_id: UUID, purchase_id: UUID | None) -> Purchase | None:
    """Read the purchase of a notification."""
    found = find_purchases(connection, (purchases.c.event_id == event_id, purchases.c.purchase_id == purchase_id))
    return found[0] if found else None
