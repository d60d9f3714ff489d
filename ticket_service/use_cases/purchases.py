"""Read purchases. Every query selects only rows that the caller may see, so a foreign purchase is not found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.providers import PROVIDERS
from ticket_service.domain.changes import person_search
from ticket_service.domain.disputes import Dispute
from ticket_service.domain.outside_refunds import OutsideRefund
from ticket_service.domain.purchases import EXTERNAL, Purchase
from ticket_service.domain.queries import DisputeQuery, PurchaseQuery
from ticket_service.domain.refusals import purchase_not_found
from ticket_service.domain.tickets import SoldTicket
from ticket_service.store import disputes, outside_refunds
from ticket_service.store.access import purchase_visible_to
from ticket_service.store.purchases import find_purchase, list_purchases
from ticket_service.store.tickets import tickets_of_purchase
from ticket_service.use_cases.changes import record_search
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

_PROVIDERS: Final = (EXTERNAL, *(provider.name for provider in PROVIDERS))


@dataclass(frozen=True, slots=True)
class ReadPurchase:
    """A purchase, and what belongs to it, oldest first."""

    purchase: Purchase
    tickets: Sequence[SoldTicket]
    disputes: Sequence[Dispute]
    outside_refunds: Sequence[OutsideRefund]


class Purchases:
    """The use case of reading purchases."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, caller: Caller, purchase_id: UUID) -> ReadPurchase:
        """Read one purchase that `caller` may see; raise PURCHASE_NOT_FOUND if there is none."""

        def work(connection: Connection) -> ReadPurchase:
            purchase = find_purchase(connection, purchase_id, purchase_visible_to(caller))
            if purchase is None:
                raise purchase_not_found(purchase_id)
            key = purchase.event_id, purchase_id
            return ReadPurchase(
                purchase,
                tickets_of_purchase(connection, *key),
                disputes.of_purchase(connection, *key),
                outside_refunds.of_purchase(connection, *key),
            )

        return await self._database.run(work)

    async def list(self, caller: Caller, query: PurchaseQuery, before: UUID | None, limit: int) -> Sequence[Purchase]:
        """Read up to `limit` purchases that `caller` may see, newest first."""
        found = await self._database.read(lambda c: list_purchases(c, caller, query, _PROVIDERS, (before, limit)))
        searched = {"user_id": query.user_id, "email": query.email}
        search = person_search("ListPurchases", query.event_id, searched, len(found))
        await record_search(self._database, caller, search, self._clock)
        return found

    async def list_disputes(
        self, caller: Caller, query: DisputeQuery, before: UUID | None, limit: int
    ) -> Sequence[Dispute]:
        """Read up to `limit` disputes of events that `caller` administers, newest first."""
        return await self._database.read(lambda c: disputes.list_disputes(c, caller, query, before, limit))
