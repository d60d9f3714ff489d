"""Statements that read purchases; `store.sales` inserts them."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.events import TicketType
from ticket_service.domain.languages import wanted_language
from ticket_service.domain.purchases import Item, Purchase, PurchaseStatus
from ticket_service.domain.queries import PurchaseQuery
from ticket_service.store.access import ANY, Condition, purchase_of_user, purchase_visible_to
from ticket_service.store.contacts import purchases_of_address
from ticket_service.store.tables import events, payments, purchases
from ticket_service.store.users import MAX_OF_USER, wanted_users
from ticketing.chassis.callers import Caller

_ITS_KEY: Final = sa.tuple_(purchases.c.event_id, purchases.c.purchase_id)


def find_purchase(connection: Connection, purchase_id: UUID, condition: Condition = ANY) -> Purchase | None:
    """Read one purchase."""
    found = find_purchases(connection, [purchases.c.purchase_id == purchase_id, condition])
    return found[0] if found else None


def read_purchases(connection: Connection, purchase_ids: Collection[UUID]) -> list[Purchase]:
    """Read purchases by their ids."""
    return find_purchases(connection, [purchases.c.purchase_id.in_(purchase_ids)])


def purchases_of_users(connection: Connection, user_ids: Collection[str]) -> dict[str, list[Purchase]]:
    """Read the purchases of each user, newest first; leave out the users with more than MAX_OF_USER."""
    found: dict[str, list[Purchase]] = {user_id: [] for user_id in user_ids}
    user = wanted_users(user_ids)
    newest = sa.select(purchases).where(purchases.c.user_id == user.c.user_id).order_by(purchases.c.purchase_id.desc())
    first = newest.limit(MAX_OF_USER + 1).lateral()
    for row in connection.execute(sa.select(first).select_from(user).join(first, sa.true())):
        found[row.user_id].append(purchase_of(row))
    return {user_id: its for user_id, its in found.items() if len(its) <= MAX_OF_USER}


def list_purchases(
    connection: Connection,
    caller: Caller,
    query: PurchaseQuery,
    providers: Sequence[str],
    page: tuple[UUID | None, int],
) -> list[Purchase]:
    """Read purchases that a caller may see, newest first.

    `providers` are the names of all providers; `page` is the id of the purchase before the page, and the page's size.
    """
    before, limit = page
    conditions = [purchase_visible_to(caller), purchase_of_user(caller, query.user_id)]
    if query.event_id is not None:
        conditions.append(purchases.c.event_id == query.event_id)
    if query.payment_id:
        conditions.append(_paid_by(query.payment_id, providers))
    if query.email:
        conditions.append(_ITS_KEY.in_(purchases_of_address(query.email)))
    if query.status is not None:
        conditions.append(purchases.c.status == query.status)
    if before is not None:
        conditions.append(purchases.c.purchase_id < before)
    return find_purchases(connection, conditions, limit)


def _paid_by(payment_id: str, providers: Sequence[str]) -> Condition:
    """Select the purchases of a payment: captured, also late or twice, or a charge that captured nothing."""
    captured = sa.select(payments.c.event_id, payments.c.purchase_id).where(
        payments.c.provider.in_(providers), payments.c.payment_id == payment_id
    )
    charge = purchases.alias("charge")
    tried = sa.select(charge.c.event_id, charge.c.purchase_id).where(
        charge.c.payment_id == payment_id, charge.c.status != PurchaseStatus.COMPLETED
    )
    return _ITS_KEY.in_(captured.union(tried))


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
            "language": wanted_language(row.language, row.metadata),
        }
    )
