"""Purchases that wait for their payment: paid, given up, or expired by the sweeper; and payments that are owed back.

Everything here locks the event first, as sales do, so that a place is either held or on sale. A payment is stored with what
it led to in one transaction: whoever paid has tickets, or is owed the money, and never both or neither.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from chassis.authentication import Caller
from chassis.database import Database
from chassis.failures import Failure
from ticket_service.domain import holds as domain
from ticket_service.domain import notifications
from ticket_service.domain.holds import Paid, Payment
from ticket_service.domain.notifications import Notification
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import event_not_found, illegal_transition
from ticket_service.domain.sales import Shelf, Terms
from ticket_service.issuing import Issuing
from ticket_service.store import holds as store
from ticket_service.store import outbox
from ticket_service.store.events import lock_event
from ticket_service.store.purchases import Condition, find_purchases, payable_by, visible_to

log = logging.getLogger(__name__)

# In one sweep; the event's row is locked while those of one event expire.
SWEEP_MOST: Final = 100
# Longer than a sweep takes, so that no two processes look at the same hold at once.
CLAIM: Final = timedelta(seconds=10)


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
            purchase, shelf = _locked(connection, purchase_id, payable_by(caller))
            known = store.paid_purchase(connection, payment.payment_id)
            if known is not None:
                if known != purchase_id:
                    raise domain.used_elsewhere(payment.payment_id, known)
                return
            terms = self._terms()
            self._store(connection, domain.paid(purchase, payment, shelf, terms), payment, shelf, terms)

        await self._database.run(work)
        self._on_change()

    async def release(self, caller: Caller, purchase_id: UUID) -> None:
        """Give a HELD purchase up that `caller` may see.

        Raises:
            Failure: PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION.
        """

        def work(connection: Connection) -> None:
            purchase, shelf = _locked(connection, purchase_id, visible_to(caller))
            store.update_purchase(connection, domain.released(purchase, shelf, self._terms().now))
            store.update_counters(connection, shelf)

        await self._database.run(work)

    async def confirm_refund(self, caller: Caller, purchase_id: UUID, refund_id: str) -> None:
        """Take note that a payment was given back, the oldest that is owed. Said again, nothing changes.

        Raises:
            Failure: PURCHASE_NOT_FOUND, or ILLEGAL_TRANSITION where nothing is owed.
        """

        def work(connection: Connection) -> None:
            purchase, _ = _locked(connection, purchase_id, payable_by(caller))
            owed = store.owed_back(connection, purchase)
            if any(made == refund_id for _, made in owed):
                return
            open_payments = [payment_id for payment_id, made in owed if made is None]
            if not open_payments:
                raise illegal_transition(purchase.status, PurchaseStatus.REFUNDED)
            store.store_refund(connection, open_payments[0], refund_id)
            told = notifications.payment_given_back(purchase, refund_id)
            outbox.write(connection, [told], self._terms().now)
            if len(open_payments) == 1 and purchase.status is PurchaseStatus.REFUNDING:
                store.update_purchase(connection, domain.refunded(purchase))

        await self._database.run(work)

    async def sweep(self) -> bool:
        """Expire holds that nobody paid; tell whether there may be more to do at once."""
        now = self._terms().now
        due = await self._database.run(lambda c: store.take_due(c, now, now + CLAIM, SWEEP_MOST))
        by_event: dict[UUID, list[UUID]] = defaultdict(list)
        for event_id, purchase_id in due:
            by_event[event_id].append(purchase_id)
        for event_id, purchase_ids in by_event.items():
            try:
                await self._expire(event_id, purchase_ids)
            except Failure as failure:
                # Of a hot event whose row was not to be had; they come up again when the claim is over.
                log.warning("holds expire later", extra={"event_id": event_id, "reason": failure.reason})
        return len(due) == SWEEP_MOST

    async def _expire(self, event_id: UUID, purchase_ids: list[UUID]) -> None:
        def work(connection: Connection) -> None:
            shelf = _shelf(connection, event_id)
            # Those that were paid or given up before we had the event are not HELD any more.
            found = store.lock_purchases(connection, event_id, purchase_ids)
            held = [purchase for purchase in found if purchase.status is PurchaseStatus.HELD]
            for purchase in domain.expired(held, shelf, self._terms().now):
                store.update_purchase(connection, purchase)
                outbox.write(connection, [notifications.hold_expired(purchase)], self._terms().now)
            store.update_counters(connection, shelf)

        await self._database.run(work)

    def _store(self, connection: Connection, result: Paid, payment: Payment, shelf: Shelf, terms: Terms) -> None:
        store.insert_payment(connection, payment, result, terms.now)
        store.update_purchase(connection, result.purchase)
        digests = {ticket.ticket_id: self._issuing.digests(self._issuing.secrets(ticket)) for ticket in result.tickets}
        store.insert_tickets(connection, result.tickets, digests)
        outbox.write(connection, [_news(result, payment)], terms.now)
        store.update_counters(connection, shelf)


def _locked(connection: Connection, purchase_id: UUID, condition: Condition) -> tuple[Purchase, Shelf]:
    """Lock a purchase's event, then the purchase."""
    found = find_purchases(connection, [store.has_id(purchase_id), condition])
    if not found:
        raise Failure(Reason.PURCHASE_NOT_FOUND, "there is no such purchase", purchase_id=purchase_id)
    shelf = _shelf(connection, found[0].event_id)
    [purchase] = store.lock_purchases(connection, found[0].event_id, [purchase_id])
    return purchase, shelf


def _news(result: Paid, payment: Payment) -> Notification:
    if result.refund_due:
        return notifications.payment_owed_back(result.purchase, payment.payment_id)
    return notifications.purchase_completed(result.purchase, result.tickets)


def _shelf(connection: Connection, event_id: UUID) -> Shelf:
    event = lock_event(connection, event_id)
    if event is None:
        raise event_not_found(event_id)
    return Shelf(event)
