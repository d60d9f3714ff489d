"""Statements that read purchases; `store.sales` inserts them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.events import TicketType
from ticket_service.domain.purchases import Item, Purchase, PurchaseStatus
from ticket_service.domain.queries import PurchaseQuery
from ticket_service.store.access import ANY, Condition, purchase_of_user, purchase_visible_to
from ticket_service.store.tables import events, purchases
from ticketing.chassis.authentication import Caller


def find_purchase(connection: Connection, purchase_id: UUID, condition: Condition = ANY) -> Purchase | None:
    """Read one purchase."""
    found = find_purchases(connection, [purchases.c.purchase_id == purchase_id, condition])
    return found[0] if found else None


def list_purchases(
    connection: Connection, caller: Caller, query: PurchaseQuery, before: UUID | None, limit: int
) -> list[Purchase]:
    """Read purchases that a caller may see, newest first."""
    conditions = [purchase_visible_to(caller), purchase_of_user(caller, query.user_id)]
    if query.event_id is not None:
        conditions.append(purchases.c.event_id == query.event_id)
    if before is not None:
        conditions.append(purchases.c.purchase_id < before)
    return find_purchases(connection, conditions, limit)


def find_purchases(connection: Connection, conditions: Sequence[Condition], limit: int | None = None) -> list[Purchase]:
    """Read purchases, newest first; conditions may be on their events too."""
    query = (
        sa.select(purchases)
        .join(events, events.c.event_id == purchases.c.event_id)
        .where(*conditions)
        .order_by(purchases.c.purchase_id.desc())
        .limit(limit)
    )
    return [purchase_of(row) for row in connection.execute(query)]


def purchase_of(row: Row[Any]) -> Purchase:
    """Convert a row of `purchases`."""
    return Purchase(
        **row._asdict()
        | {
            "items": tuple(
                Item(TicketType(ticket_type), quantity, price) for ticket_type, quantity, price in row.items
            ),
            "status": PurchaseStatus(row.status),
        }
    )
