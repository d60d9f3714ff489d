"""Reading purchases: whose they are is part of every query, so a foreign one does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.purchases import Purchase
from ticket_service.domain.reasons import Reason
from ticket_service.domain.tickets import SoldTicket
from ticket_service.store import purchases as store
from ticket_service.store.tables import purchases as table
from ticket_service.store.tables import tickets
from ticket_service.store.tickets import find_tickets
from ticketing.chassis.authentication import Caller
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


@dataclass(frozen=True, slots=True)
class PurchaseQuery:
    """Which purchases are listed."""

    event_id: UUID | None
    # "": the caller's; for organizers and services all they may see.
    user_id: str


class Purchases:
    """The purchases.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, caller: Caller, purchase_id: UUID) -> tuple[Purchase, Sequence[SoldTicket]]:
        """Read one purchase that `caller` may see, and its tickets in the order they were made."""

        def work(connection: Connection) -> tuple[Purchase, Sequence[SoldTicket]]:
            conditions = [table.c.purchase_id == purchase_id, store.visible_to(caller)]
            found = store.find_purchases(connection, conditions)
            if not found:
                raise Failure(Reason.PURCHASE_NOT_FOUND, "there is no such purchase", purchase_id=purchase_id)
            purchase = found[0]
            its = [tickets.c.event_id == purchase.event_id, tickets.c.purchase_id == purchase_id]
            return purchase, find_tickets(connection, its)[::-1]

        return await self._database.run(work)

    async def list(self, caller: Caller, query: PurchaseQuery, before: UUID | None, limit: int) -> Sequence[Purchase]:
        """Read up to `limit` purchases that `caller` may see, newest first."""
        conditions = [store.visible_to(caller), store.of_user(caller, query.user_id)]
        if query.event_id is not None:
            conditions.append(table.c.event_id == query.event_id)
        if before is not None:
            conditions.append(table.c.purchase_id < before)
        return await self._database.run(lambda connection: store.find_purchases(connection, conditions, limit))
