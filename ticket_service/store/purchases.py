"""Statements on purchases, once they are made; `store.sales` makes them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.events import TicketType
from ticket_service.domain.purchases import Item, Purchase, PurchaseStatus
from ticket_service.store.tables import events, purchases
from ticketing.chassis.authentication import Caller, Role

Condition = sa.ColumnElement[bool]


def visible_to(caller: Caller) -> Condition:
    """Say whose purchases the caller may see: a service all, an organizer those of their events, everyone their own."""
    if caller.is_any(Role.SERVICE):
        return sa.true()
    own = purchases.c.user_id == caller.subject
    return sa.or_(own, events.c.organizer_id == caller.subject) if caller.is_any(Role.ORGANIZER) else own


def payable_by(caller: Caller) -> Condition:
    """Say whose payments the caller may confirm: a service all, an organizer those of their events, a buyer none."""
    return sa.true() if caller.is_any(Role.SERVICE) else events.c.organizer_id == caller.subject


def of_user(caller: Caller, user_id: str) -> Condition:
    """Say whose purchases a list is of; "": the caller's, or all that an organizer or a service may see."""
    if user_id:
        return purchases.c.user_id == user_id
    return sa.true() if caller.is_any(Role.ORGANIZER, Role.SERVICE) else purchases.c.user_id == caller.subject


def find_purchases(connection: Connection, conditions: Sequence[Condition], limit: int | None = None) -> list[Purchase]:
    """Read purchases, newest first."""
    query = (
        sa.select(purchases)
        .join(events, events.c.event_id == purchases.c.event_id)
        .where(*conditions)
        .order_by(purchases.c.purchase_id.desc())
        .limit(limit)
    )
    return [purchase_of(row) for row in connection.execute(query)]


def purchase_of(row: Row[Any]) -> Purchase:
    """Read a purchase from a row of its table."""
    return Purchase(
        **row._asdict()
        | {
            "items": tuple(Item(TicketType(kind), quantity, price) for kind, quantity, price in row.items),
            "status": PurchaseStatus(row.status),
        }
    )
