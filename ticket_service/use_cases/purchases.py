"""Read purchases. A foreign purchase, which the caller may not see, is not found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.providers import PROVIDERS
from ticket_service.domain.access import listed_user, sees
from ticket_service.domain.changes import person_search
from ticket_service.domain.disputes import Dispute
from ticket_service.domain.outside_refunds import OutsideRefund
from ticket_service.domain.purchases import EXTERNAL, Purchase
from ticket_service.domain.queries import DisputeQuery, PurchaseQuery
from ticket_service.domain.refusals import purchase_not_found
from ticket_service.domain.tickets import SoldTicket
from ticket_service.store import disputes, outside_refunds
from ticket_service.store.events import organizers_of
from ticket_service.store.purchases import list_purchases, purchases_of_users, read_purchases
from ticket_service.store.tickets import tickets_of_purchases
from ticket_service.use_cases.batched_reads import BatchedReads
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
    # The organizer of the event.
    organizer_id: str

    def is_visible_to(self, caller: Caller) -> bool:
        """Return whether the caller may see the purchase: the buyer, a service, an operator, or the event's organizer."""
        return sees(caller, self.purchase.user_id, self.organizer_id)


class Purchases:
    """The use case of reading purchases."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._reads: BatchedReads[UUID, ReadPurchase] = BatchedReads(database, "purchase reads", _read)
        self._of_users: BatchedReads[str, list[Purchase]] = BatchedReads(
            database, "purchases of users", purchases_of_users
        )
        self._clock = clock

    async def get(self, caller: Caller, purchase_id: UUID) -> ReadPurchase:
        """Read one purchase that `caller` may see; raise PURCHASE_NOT_FOUND if there is none."""
        read = await self._reads.get(purchase_id)
        if read is None or not read.is_visible_to(caller):
            raise purchase_not_found(purchase_id)
        return read

    async def list(self, caller: Caller, query: PurchaseQuery, before: UUID | None, limit: int) -> Sequence[Purchase]:
        """Read up to `limit` purchases that `caller` may see, newest first."""
        found = await self._list_few(caller, query, before)
        if found is None:
            found = await self._database.read(lambda c: list_purchases(c, caller, query, _PROVIDERS, (before, limit)))
        found = found[:limit]
        searched = {"user_id": query.user_id, "email": query.email}
        search = person_search("ListPurchases", query.event_id, searched, len(found))
        await record_search(self._database, caller, search, self._clock)
        return found

    async def _list_few(self, caller: Caller, query: PurchaseQuery, before: UUID | None) -> Sequence[Purchase] | None:
        """List the purchases of one user who has few; return None for any other list, which waits for the pool of lists."""
        user_id = listed_user(caller, query.user_id)
        if user_id is None or not query.is_of_user_alone:
            return None
        made = await self._of_users.get(user_id)
        if made is None:
            return None
        return [one for one in made if query.selects(one) and (before is None or one.purchase_id < before)]

    async def list_disputes(
        self, caller: Caller, query: DisputeQuery, before: UUID | None, limit: int
    ) -> Sequence[Dispute]:
        """Read up to `limit` disputes of events that `caller` administers, newest first."""
        return await self._database.read(lambda c: disputes.list_disputes(c, caller, query, before, limit))


def _read(connection: Connection, purchase_ids: Sequence[UUID]) -> dict[UUID, ReadPurchase]:
    found = read_purchases(connection, purchase_ids)
    keys = [(purchase.event_id, purchase.purchase_id) for purchase in found]
    tickets = tickets_of_purchases(connection, keys)
    organizers = organizers_of(connection, {event_id for event_id, _ in keys})
    disputed, refunded = disputes.of_purchases(connection, keys), outside_refunds.of_purchases(connection, keys)
    return {
        purchase.purchase_id: ReadPurchase(
            purchase,
            tickets[purchase.purchase_id],
            [one for one in disputed if one.purchase_id == purchase.purchase_id],
            [one for one in refunded if one.purchase_id == purchase.purchase_id],
            organizers[purchase.event_id],
        )
        for purchase in found
    }
