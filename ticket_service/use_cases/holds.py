"""Purchases that wait for their payment: paid, given up, or expired by the sweeper; and payments that are owed back.

Everything here locks the event first, as sales do, so that a place is either held or on sale. A payment is stored with
what it led to in one transaction: whoever paid has tickets, or is owed the money, and never both or neither.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import holds as domain
from ticket_service.domain import notifications
from ticket_service.domain.holds import Paid, Payment
from ticket_service.domain.ledger import charge_entries, payment_entry, payment_refund_entry
from ticket_service.domain.notifications import Notification
from ticket_service.domain.payments import ChargeState, Progress
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refund_orders import order_of_payment
from ticket_service.domain.refusals import event_not_found, illegal_transition
from ticket_service.domain.sales import Inventory, Terms
from ticket_service.store import holds as store
from ticket_service.store import ledger, outbox, refund_orders
from ticket_service.store.events import lock_event
from ticket_service.store.purchases import Condition, find_purchases, payable_by, visible_to
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.authentication import Caller
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

log = logging.getLogger(__name__)

# In one sweep; the event's row is locked while those of one event expire.
MAX_SWEEP: Final = 100
# Longer than a sweep takes, so that no two processes look at the same hold at once.
CLAIM: Final = timedelta(seconds=10)
CLAIM_SPREAD_SECONDS: Final = 2.0


class Holds:
    """The purchases that wait for their payment.

    Args:
        database: where they are.
        issuing: makes tickets once they are paid.
        terms: returns what holds for every purchase, as of now.
        on_change: called after a commit that gates need to know of.
    """

    def __init__(
        self, database: Database, issuing: Issuing, terms: Callable[[], Terms], on_change: Callable[[], None]
    ) -> None:
        self._database = database
        self._issuing = issuing
        self._terms = terms
        self._on_change = on_change

    async def confirm(self, caller: Caller, purchase_id: UUID, payment: Payment) -> None:
        """Take note of a payment: by a service, or by the event's own organizer. Said again, nothing changes.

        Raises:
            Failure: PURCHASE_NOT_FOUND, PAYMENT_ALREADY_USED or PRICE_CHANGED.
        """

        def work(connection: Connection) -> None:
            purchase, inventory = _locked(connection, purchase_id, payable_by(caller))
            known = store.paid_purchase(connection, payment)
            if known is not None:
                if known != purchase_id:
                    raise domain.used_elsewhere(payment.payment_id, known)
                return
            terms = self._terms()
            self._store(connection, domain.paid(purchase, payment, inventory, terms), payment, inventory, terms)

        await self._database.run(work)
        self._on_change()

    async def note(self, purchase: Purchase, progress: Progress) -> Purchase:
        """Take note of how far a provider of ours is with the payment of a purchase. Said again, nothing changes.

        Returns:
            The purchase as it now is.
        """

        def work(connection: Connection) -> Purchase:
            inventory = _inventory(connection, purchase.event_id)
            [found] = store.lock_purchases(connection, purchase.event_id, [purchase.purchase_id])
            return self._note(connection, found, progress, inventory)

        noted = await self._database.run(work)
        self._on_change()
        return noted

    async def release(self, caller: Caller, purchase_id: UUID) -> None:
        """Give a HELD purchase up that `caller` may see; what a provider of ours may still take was withdrawn before.

        Raises:
            Failure: PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION.
        """

        def work(connection: Connection) -> None:
            purchase, inventory = _locked(connection, purchase_id, visible_to(caller))
            store.update_purchase(connection, domain.released(purchase, inventory, self._terms().now))
            store.update_counters(connection, inventory)

        await self._database.run(work)

    async def confirm_refund(self, caller: Caller, purchase_id: UUID, refund_id: str) -> None:
        """Take note that a payment was given back, the oldest that is owed. Said again, nothing changes.

        Raises:
            Failure: PURCHASE_NOT_FOUND, or ILLEGAL_TRANSITION where nothing is owed.
        """

        def work(connection: Connection) -> None:
            purchase, _ = _locked(connection, purchase_id, payable_by(caller))
            # A provider of ours is never told by hand what it gave back.
            owed = [one for one in store.owed_back(connection, purchase) if one.payment.provider == EXTERNAL]
            if any(one.refund_id == refund_id for one in owed):
                return
            outstanding = [one.payment for one in owed if one.refund_id is None]
            if not outstanding:
                raise illegal_transition(purchase.status, PurchaseStatus.REFUNDED)
            now = self._terms().now
            give_back(connection, purchase, outstanding[0], refund_id, now)
            ledger.enter(connection, payment_refund_entry(purchase, outstanding[0], refund_id), now)

        await self._database.run(work)

    async def take_due(self, provider: str, limit: int) -> list[Purchase]:
        """Claim HELD purchases that are due and paid by `provider`."""
        now = self._terms().now
        # Apart, so that those that became due together do not stay so.
        until = now + CLAIM + timedelta(seconds=backoff_seconds(0, first=CLAIM_SPREAD_SECONDS, longest=60))
        return await self._database.run(lambda c: store.take_due(c, provider, now, until, limit))

    async def sweep(self) -> bool:
        """Expire holds that the caller's own system was not paid for; tell whether there may be more to do at once."""
        due = await self.take_due(EXTERNAL, MAX_SWEEP)
        by_event: dict[UUID, list[UUID]] = defaultdict(list)
        for purchase in due:
            by_event[purchase.event_id].append(purchase.purchase_id)
        for event_id, purchase_ids in by_event.items():
            try:
                await self._expire(event_id, purchase_ids)
            except Failure as failure:
                # Of a hot event whose row was not to be had; they come up again when the claim is over.
                log.warning("holds expire later", extra={"event_id": event_id, "reason": failure.reason})
        return len(due) == MAX_SWEEP

    async def _expire(self, event_id: UUID, purchase_ids: list[UUID]) -> None:
        def work(connection: Connection) -> None:
            inventory = _inventory(connection, event_id)
            # Those that were paid or given up before we had the event are not HELD any more.
            found = store.lock_purchases(connection, event_id, purchase_ids)
            held = [purchase for purchase in found if purchase.status is PurchaseStatus.HELD]
            for purchase in domain.expired(held, inventory, self._terms().now):
                store.update_purchase(connection, purchase)
                outbox.write(connection, [notifications.hold_expired(purchase)], self._terms().now)
            store.update_counters(connection, inventory)

        await self._database.run(work)

    def _note(self, connection: Connection, purchase: Purchase, progress: Progress, inventory: Inventory) -> Purchase:
        terms = self._terms()
        if progress.state is ChargeState.PAID:
            payment = Payment(progress.payment_id or "", (purchase.currency, purchase.total), purchase.provider)
            if store.paid_purchase(connection, payment) is not None:
                return purchase
            result = domain.paid(purchase, payment, inventory, terms)
            self._store(connection, result, payment, inventory, terms)
            return result.purchase
        if purchase.status is not PurchaseStatus.HELD:
            return purchase
        noted = domain.progressed(purchase, progress, inventory, terms.now)
        store.update_purchase(connection, noted)
        store.update_counters(connection, inventory)
        for entry in charge_entries(purchase, noted):
            ledger.enter(connection, entry, terms.now)
        if noted.status is PurchaseStatus.EXPIRED:
            outbox.write(connection, [notifications.hold_expired(noted)], terms.now)
        return noted

    def _store(
        self, connection: Connection, result: Paid, payment: Payment, inventory: Inventory, terms: Terms
    ) -> None:
        store.insert_payment(connection, payment, result, terms.now)
        ledger.enter(connection, payment_entry(result.purchase, payment), terms.now)
        is_ours = payment.provider != EXTERNAL
        if result.refund_due and is_ours:
            refund_orders.insert(connection, order_of_payment(result.purchase, payment, new_id(), terms.now))
        store.update_purchase(connection, result.purchase)
        digests = {ticket.ticket_id: self._issuing.digests(self._issuing.secrets(ticket)) for ticket in result.tickets}
        store.insert_tickets(connection, result.tickets, digests)
        if not (result.refund_due and is_ours):
            outbox.write(connection, [_news(result, payment)], terms.now)
        store.update_counters(connection, inventory)


def give_back(connection: Connection, purchase: Purchase, payment: Payment, refund_id: str, now: datetime) -> None:
    """Store that a payment was given back that was owed back; the purchase is locked by us."""
    store.store_refund(connection, payment, refund_id)
    outbox.write(connection, [notifications.payment_given_back(purchase, refund_id)], now)
    is_settled = all(one.refund_id is not None for one in store.owed_back(connection, purchase))
    if is_settled and purchase.status is PurchaseStatus.REFUNDING:
        store.update_purchase(connection, domain.refunded(purchase))


def _locked(connection: Connection, purchase_id: UUID, condition: Condition) -> tuple[Purchase, Inventory]:
    """Lock a purchase's event, then the purchase."""
    found = find_purchases(connection, [store.has_id(purchase_id), condition])
    if not found:
        raise Failure(Reason.PURCHASE_NOT_FOUND, "there is no such purchase", purchase_id=purchase_id)
    inventory = _inventory(connection, found[0].event_id)
    [purchase] = store.lock_purchases(connection, found[0].event_id, [purchase_id])
    return purchase, inventory


def _news(result: Paid, payment: Payment) -> Notification:
    if result.refund_due:
        return notifications.payment_owed_back(result.purchase, payment.payment_id)
    return notifications.purchase_completed(result.purchase, result.tickets)


def _inventory(connection: Connection, event_id: UUID) -> Inventory:
    event = lock_event(connection, event_id)
    if event is None:
        raise event_not_found(event_id)
    return Inventory(event)
