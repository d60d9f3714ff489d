"""Hold purchases until their payment: record payments, release or expire holds, and request refunds.

Every transaction that reserves or releases places locks the event first, as sales do, so that a place is either held
or on sale. A payment is stored together with its effect: issued tickets or a due refund, exactly one of them.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import holds as domain
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.holds import Payment, PaymentResult
from ticket_service.domain.ledger import charge_entries, withdrawn_entry
from ticket_service.domain.notifications import hold_expired, payment_refunded
from ticket_service.domain.payments import MAX_POLL_INTERVAL, ChargeState, Progress
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.refusals import purchase_not_found
from ticket_service.domain.sales import Inventory, SaleContext
from ticket_service.store import changes, ledger, outbox
from ticket_service.store import holds as store
from ticket_service.store.access import Condition, purchase_visible_to
from ticket_service.store.purchases import find_purchase
from ticket_service.store.sale_counters import count_end
from ticket_service.use_cases.payment_records import PaymentRecords, lock_inventory
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.callers import Caller
from ticketing.chassis.database import Database, after_commit
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

# Holds in one sweep; the row of an event is locked while its holds expire.
MAX_SWEEP: Final = 100
# The time exceeds a sweep, so that no two processes handle a hold at once.
CLAIM: Final = timedelta(seconds=10)
CLAIM_SPREAD_SECONDS: Final = 2.0


class Holds:
    """The use cases of held purchases.

    Args:
        database: the tickets database.
        records: stores the payments.
        context: returns the limits and the present time.
        on_change: called after each commit that may change the feed.
    """

    def __init__(
        self,
        database: Database,
        records: PaymentRecords,
        context: Callable[[], SaleContext],
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._records = records
        self._context = context
        self._on_change = on_change

    async def record_progress(self, purchase: Purchase, progress: Progress) -> Purchase:
        """Record the state of a purchase's charge at its provider; return the purchase in its present state."""

        def work(connection: Connection) -> Purchase:
            inventory = lock_inventory(connection, purchase.event_id)
            [locked] = store.lock_purchases(connection, purchase.event_id, [purchase.purchase_id])
            return self._record_progress(connection, locked, progress, inventory)

        recorded = await self._database.run(work)
        self._on_change()
        return recorded

    async def record_charge(self, purchase: Purchase, payment: Payment) -> None:
        """Record a payment that a provider has captured, early or late; a repetition changes nothing.

        Raises:
            Failure: PRICE_CHANGED if the amount is not the purchase's total.
        """

        def work(connection: Connection) -> None:
            inventory = lock_inventory(connection, purchase.event_id)
            [locked] = store.lock_purchases(connection, purchase.event_id, [purchase.purchase_id])
            if store.paid_purchase(connection, payment) is None:
                self._apply_payment(connection, locked, payment, inventory)

        await self._database.run(work)
        self._on_change()

    async def release(self, caller: Caller, purchase: Purchase) -> Purchase | None:
        """Release a HELD purchase that `caller` may see; the caller has withdrawn the charge of `purchase`.

        Returns:
            As `Confirmations.confirm`.

        Raises:
            Failure: PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION.
        """

        def work(connection: Connection) -> Purchase | None:
            locked, inventory = lock_purchase(connection, purchase.purchase_id, purchase_visible_to(caller))
            if domain.has_other_charge(locked, purchase):
                return locked
            now = self._context().now
            released = domain.release(locked, inventory, now)
            if released is not locked:
                store.update_purchase(connection, released)
                store.update_counters(connection, inventory)
                _enter_withdrawal(connection, locked, now)
                _record(connection, caller, ChangeKind.PURCHASE_RELEASED, locked, now, {})
                after_commit(connection, partial(count_end, released.status))
            return None

        return await self._database.run(work)

    async def claim_due(self, provider: str, limit: int) -> list[Purchase]:
        """Claim due HELD purchases of a provider; no other process handles them for a while."""
        now = self._context().now
        # Add jitter, so that purchases that became due together are not retried together.
        until = now + CLAIM + timedelta(seconds=backoff_seconds(0, first=CLAIM_SPREAD_SECONDS, max_seconds=60))
        return await self._database.run(lambda c: store.claim_due(c, provider, now, until, limit))

    async def claim_unconfigured(self, providers: Sequence[str], limit: int) -> list[Purchase]:
        """Claim due purchases whose hold is over and whose provider is none of `providers`."""
        now = self._context().now
        return await self._database.run(
            lambda c: store.claim_ended_of_others(c, providers, now, now + MAX_POLL_INTERVAL, limit)
        )

    async def sweep(self) -> bool:
        """Expire due holds that the caller's own payment system did not confirm; return whether more may be due."""
        due = await self.claim_due(EXTERNAL, MAX_SWEEP)
        by_event: dict[UUID, list[UUID]] = defaultdict(list)
        for purchase in due:
            by_event[purchase.event_id].append(purchase.purchase_id)
        # In parallel, so that a locked event delays no other event.
        await asyncio.gather(*(self._try_expire(event_id, purchase_ids) for event_id, purchase_ids in by_event.items()))
        return len(due) == MAX_SWEEP

    async def _try_expire(self, event_id: UUID, purchase_ids: list[UUID]) -> None:
        try:
            await self._expire(event_id, purchase_ids)
        except Failure as failure:
            # The row of the event was not locked in time; the holds are due again when the claim ends.
            log.warning("holds expire later", extra={"event_id": event_id, "reason": failure.reason})

    async def _expire(self, event_id: UUID, purchase_ids: list[UUID]) -> None:
        def work(connection: Connection) -> None:
            inventory = lock_inventory(connection, event_id)
            locked = store.lock_purchases(connection, event_id, purchase_ids)
            # Another transaction may have completed or released a purchase before the event was locked.
            held = [purchase for purchase in locked if purchase.status is PurchaseStatus.HELD]
            for purchase in domain.expire(held, inventory, self._context().now):
                store.update_purchase(connection, purchase)
                outbox.write(connection, hold_expired(purchase), self._context().now)
            store.update_counters(connection, inventory)

        await self._database.run(work)

    def _record_progress(
        self, connection: Connection, purchase: Purchase, progress: Progress, inventory: Inventory
    ) -> Purchase:
        if progress.state is ChargeState.PAID:
            payment = Payment(progress.payment_id or "", (purchase.currency, purchase.total), purchase.provider)
            if store.paid_purchase(connection, payment) is not None:
                return purchase
            return self._apply_payment(connection, purchase, payment, inventory).purchase
        if purchase.status is not PurchaseStatus.HELD:
            return purchase
        now = self._context().now
        after = domain.apply_progress(purchase, progress, inventory, now)
        if after is purchase:
            return purchase
        store.update_purchase(connection, after)
        store.update_counters(connection, inventory)
        for entry in charge_entries(purchase, after):
            ledger.enter(connection, entry, now)
        outbox.write(connection, hold_expired(after), now)
        if after.status in {PurchaseStatus.DECLINED, PurchaseStatus.RELEASED}:
            after_commit(connection, partial(count_end, after.status))
        return after

    def _apply_payment(
        self, connection: Connection, purchase: Purchase, payment: Payment, inventory: Inventory
    ) -> PaymentResult:
        """Store a payment together with its effect; return the effect."""
        result = self._records.decide(connection, purchase, payment, inventory)
        self._records.store(connection, [(payment, result)], inventory)
        return result


def _enter_withdrawal(connection: Connection, held: Purchase, now: datetime) -> None:
    if held.payment_id is not None:
        ledger.enter(connection, withdrawn_entry(held), now)


def record_refund(connection: Connection, purchase: Purchase, payment: Payment, refund_id: str, now: datetime) -> None:
    """Store the refund of a payment of a locked purchase; the last refund due makes the purchase REFUNDED."""
    store.store_refund(connection, payment, refund_id)
    outbox.write(connection, payment_refunded(purchase, refund_id), now)
    is_complete = all(due.refund_id is not None for due in store.refunds_due(connection, purchase))
    if is_complete and purchase.status is PurchaseStatus.REFUNDING:
        store.update_purchase(connection, domain.complete_refund(purchase))


def _record(  # noqa: PLR0913, PLR0917 - the caller, and what a record contains
    connection: Connection,
    caller: Caller,
    kind: ChangeKind,
    purchase: Purchase,
    now: datetime,
    facts: Mapping[str, object],
) -> None:
    change = Change(kind, purchase.event_id, purchase.purchase_id, details=facts)
    changes.record(connection, caller, change, now)


def lock_purchase(connection: Connection, purchase_id: UUID, condition: Condition) -> tuple[Purchase, Inventory]:
    """Lock the event of a purchase, then the purchase."""
    found = find_purchase(connection, purchase_id, condition)
    if found is None:
        raise purchase_not_found(purchase_id)
    inventory = lock_inventory(connection, found.event_id)
    [purchase] = store.lock_purchases(connection, found.event_id, [purchase_id])
    return purchase, inventory
