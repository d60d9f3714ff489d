"""Payments by a provider: (1) keep the places, (2) create the charge and store its id, (3) confirm it, (4) settle.

The first is the sale's; the last completes the purchase, or frees its places once nothing can be taken any more. Every
step may be done again, by who asks again or by the sweeper after a crash: each begins by asking the provider about the
stored id. No provider is called inside a transaction.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final
from uuid import UUID

from ticket_service.adapters.payment_provider import PaymentProvider, Providers
from ticket_service.adapters.providers import provider_of
from ticket_service.domain.holds import ENDED, Payment
from ticket_service.domain.payments import ChargeState, Progress, charge_of
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import provider_not_configured
from ticket_service.store.holds import has_id
from ticket_service.store.purchases import Condition, find_purchases, payable_by, visible_to
from ticket_service.use_cases.holds import Holds
from ticketing.chassis.authentication import Caller
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, dependency_unavailable

log = logging.getLogger(__name__)

# For a buyer who waits; after that the sweeper goes on.
TRIES: Final = 2
TRY_AGAIN_SECONDS: Final = 0.2
# Create, confirm, and once more for a step that another process took meanwhile.
STEPS: Final = 3
# In one sweep: so many that even at a provider which hangs it is over before others may look at them.
MAX_SWEEP: Final = 16


class Payments:
    """The payments of purchases.

    Args:
        database: where purchases are.
        holds: the purchases that wait for their payment.
        providers: by name.
        clock: the present time.
    """

    def __init__(self, database: Database, holds: Holds, providers: Providers, clock: Clock) -> None:
        self._database = database
        self._holds = holds
        self._providers = providers
        self._clock = clock

    def provider_for(self, payment_method: str) -> str:
        """Return the name of the configured provider that charges a payment method.

        Raises:
            Failure: PROVIDER_NOT_CONFIGURED.
        """
        name = provider_of(payment_method)
        if name not in self._providers:
            raise provider_not_configured(name)
        return name

    async def begin(self, purchase: Purchase) -> None:
        """Charge for a purchase that has just been HELD, as far as that goes now; the sweeper goes on."""
        for attempt in range(TRIES):
            try:
                await self._go_on(purchase)
            except Failure as failure:
                log.warning("a payment is left half-way", extra=_facts(purchase, failure))
                await asyncio.sleep(backoff_seconds(attempt, first=TRY_AGAIN_SECONDS, longest=1))
            else:
                return

    async def confirm(self, caller: Caller, purchase_id: UUID, payment: Payment | None) -> None:
        """Take note of a payment: `payment`, or what the purchase's provider tells when asked.

        Raises:
            Failure: PURCHASE_NOT_FOUND, PAYMENT_ALREADY_USED or PRICE_CHANGED; DEPENDENCY_UNAVAILABLE.
        """
        if payment is None:
            purchase = await self._find(purchase_id, visible_to(caller))
            if purchase.status is PurchaseStatus.HELD:
                await self._go_on(purchase)
            elif purchase.status in ENDED:
                # It was withdrawn, so nothing can have come late; if it did all the same, it is not lost.
                await self._withdraw(purchase)
            return
        purchase = await self._find(purchase_id, payable_by(caller))
        if purchase.status is PurchaseStatus.HELD:
            await self._withdraw_for_good(purchase)
        await self._holds.confirm(caller, purchase_id, payment)

    async def release(self, caller: Caller, purchase_id: UUID) -> None:
        """Give a HELD purchase up that `caller` may see.

        Raises:
            Failure: PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION; DEPENDENCY_UNAVAILABLE: it may still be charged for.
        """
        purchase = await self._find(purchase_id, visible_to(caller))
        if purchase.status is PurchaseStatus.HELD:
            await self._withdraw_for_good(purchase)
        await self._holds.release(caller, purchase_id)

    async def sweep(self) -> bool:
        """Complete or release due purchases of every configured provider; return whether more may be due."""
        ours = [name for name in self._providers if name != EXTERNAL]
        return any(await asyncio.gather(*(self._sweep_provider(name) for name in ours)))

    async def _sweep_provider(self, provider: str) -> bool:
        due = await self._holds.take_due(provider, MAX_SWEEP)
        await asyncio.gather(*(self._try_on(purchase) for purchase in due))
        return len(due) == MAX_SWEEP

    async def _try_on(self, purchase: Purchase) -> None:
        is_over = purchase.hold_expire_time is not None and self._clock() >= purchase.hold_expire_time
        try:
            await (self._withdraw(purchase) if is_over else self._go_on(purchase))
        except Failure as failure:
            log.warning("a payment is tried again later", extra=_facts(purchase, failure))

    async def _go_on(self, purchase: Purchase) -> None:
        """Do steps 2 to 4, as far as they go now."""
        provider = self._provider(purchase)
        for _ in range(STEPS):
            progress = await provider.advance(charge_of(purchase))
            if progress.state is ChargeState.DECLINED:
                # Until it is withdrawn the buyer's front end could still pay it with another card.
                await self._withdraw(replace(purchase, payment_id=progress.payment_id), progress.decline_code)
                return
            purchase = await self._note(purchase, progress)
            if progress.state is not ChargeState.CREATED or purchase.status is not PurchaseStatus.HELD:
                return

    async def _withdraw(self, purchase: Purchase, decline_code: str | None = None) -> Purchase:
        """See to it that nothing is taken any more, then free the places; complete what was paid already."""
        progress = await self._provider(purchase).withdraw(charge_of(purchase))
        return await self._note(purchase, replace(progress, decline_code=decline_code or progress.decline_code))

    async def _withdraw_for_good(self, purchase: Purchase) -> None:
        if purchase.provider == EXTERNAL:
            # Nothing is charged by us, and what happens to the places is decided with what comes next.
            return
        if (await self._withdraw(purchase)).status is PurchaseStatus.HELD:
            # A bank is at work on it.
            raise dependency_unavailable("payment provider")

    async def _note(self, purchase: Purchase, progress: Progress) -> Purchase:
        if purchase.provider == EXTERNAL:
            # Only ConfirmPurchase tells what happened there.
            return purchase
        return await self._holds.note(purchase, progress)

    def _provider(self, purchase: Purchase) -> PaymentProvider:
        provider = self._providers.get(purchase.provider)
        if provider is None:
            log.error("a purchase is paid by a provider that is not configured", extra={"provider": purchase.provider})
            raise dependency_unavailable("payment provider")
        return provider

    async def _find(self, purchase_id: UUID, condition: Condition) -> Purchase:
        found = await self._database.run(lambda c: find_purchases(c, [has_id(purchase_id), condition]))
        if not found:
            raise Failure(Reason.PURCHASE_NOT_FOUND, "there is no such purchase", purchase_id=purchase_id)
        return found[0]


def _facts(purchase: Purchase, failure: Failure) -> dict[str, object]:
    return {"event_id": purchase.event_id, "purchase_id": purchase.purchase_id, "reason": failure.reason}
