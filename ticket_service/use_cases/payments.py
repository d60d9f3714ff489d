"""Charge purchases: (1) hold the places, (2) create the charge and store its id, (3) confirm it, (4) settle.

The sale does step 1. Step 4 completes the purchase, or releases its places when the provider can capture nothing any
more. A caller can repeat every step by a repeated request, and the sweeper after a crash: each step first asks the
provider about the stored id. No transaction contains a call to a provider.
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
from ticket_service.domain.refusals import provider_not_configured, purchase_not_found
from ticket_service.store.access import Condition, event_administered_by, purchase_visible_to
from ticket_service.store.purchases import find_purchase
from ticket_service.use_cases.holds import Holds
from ticketing.chassis.authentication import Caller
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, dependency_unavailable

log = logging.getLogger(__name__)

# Tries while the buyer waits; then the sweeper continues.
TRIES: Final = 2
TRY_AGAIN_SECONDS: Final = 0.2
# The number of steps: create, confirm, and one repetition of a step that another process did meanwhile.
STEPS: Final = 3
# Purchases in one sweep: few enough that the sweep ends before their claims, even if the provider hangs.
MAX_SWEEP: Final = 16


class Payments:
    """The payments of a database's purchases; `holds` records them."""

    def __init__(self, database: Database, holds: Holds, providers: Providers, clock: Clock) -> None:
        self._database = database
        self._holds = holds
        self._providers = providers
        self._clock = clock

    def provider_for(self, payment_method: str) -> str:
        """Return the provider that charges a payment method; raise PROVIDER_NOT_CONFIGURED if it has no settings."""
        name = provider_of(payment_method)
        if name not in self._providers:
            raise provider_not_configured(name)
        return name

    async def begin(self, purchase: Purchase) -> None:
        """Charge for a new HELD purchase, as far as possible at once; the sweeper continues."""
        for attempt in range(TRIES):
            try:
                await self._advance(purchase)
            except Failure as failure:
                log.warning("a payment is left unfinished", extra=_facts(purchase, failure))
                await asyncio.sleep(backoff_seconds(attempt, first=TRY_AGAIN_SECONDS, longest=1))
            else:
                return

    async def confirm(self, caller: Caller, purchase_id: UUID, payment: Payment | None) -> None:
        """Record `payment`; None records the payment that the purchase's provider reports.

        Raises:
            Failure: PURCHASE_NOT_FOUND, PAYMENT_ALREADY_USED or PRICE_CHANGED; DEPENDENCY_UNAVAILABLE.
        """
        if payment is None:
            purchase = await self._find(purchase_id, purchase_visible_to(caller))
            if purchase.status is PurchaseStatus.HELD:
                await self._advance(purchase)
            elif purchase.status in ENDED:
                # The charge was withdrawn, so no late payment should exist; if one does, this call records it.
                await self._withdraw(purchase)
            return
        purchase = await self._find(purchase_id, event_administered_by(caller))
        if purchase.status is PurchaseStatus.HELD:
            await self._withdraw_for_good(purchase)
        await self._holds.confirm(caller, purchase_id, payment)

    async def release(self, caller: Caller, purchase_id: UUID) -> None:
        """Release a HELD purchase that `caller` may see.

        Raises:
            Failure: PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION; DEPENDENCY_UNAVAILABLE if the
                charge may still succeed.
        """
        purchase = await self._find(purchase_id, purchase_visible_to(caller))
        if purchase.status is PurchaseStatus.HELD:
            await self._withdraw_for_good(purchase)
        await self._holds.release(caller, purchase_id)

    async def sweep(self) -> bool:
        """Complete or release due purchases of every configured provider; return whether more may be due."""
        charging = [name for name in self._providers if name != EXTERNAL]
        return any(await asyncio.gather(*(self._sweep_provider(name) for name in charging)))

    async def _sweep_provider(self, provider: str) -> bool:
        due = await self._holds.claim_due(provider, MAX_SWEEP)
        await asyncio.gather(*(self._try(purchase) for purchase in due))
        return len(due) == MAX_SWEEP

    async def _try(self, purchase: Purchase) -> None:
        is_over = purchase.hold_expire_time is not None and self._clock() >= purchase.hold_expire_time
        try:
            await (self._withdraw(purchase) if is_over else self._advance(purchase))
        except Failure as failure:
            log.warning("a payment is tried again later", extra=_facts(purchase, failure))

    async def _advance(self, purchase: Purchase) -> None:
        """Do steps 2 to 4, as far as possible at once."""
        provider = self._provider(purchase)
        for _ in range(STEPS):
            progress = await provider.advance(charge_of(purchase))
            if progress.state is ChargeState.DECLINED:
                # The buyer's front end could pay with another card until the charge is withdrawn.
                await self._withdraw(replace(purchase, payment_id=progress.payment_id), progress.decline_code)
                return
            purchase = await self._record(purchase, progress)
            if progress.state is not ChargeState.CREATED or purchase.status is not PurchaseStatus.HELD:
                return

    async def _withdraw(self, purchase: Purchase, decline_code: str | None = None) -> Purchase:
        """Withdraw the charge and release the places; complete the purchase if it was paid already."""
        progress = await self._provider(purchase).withdraw(charge_of(purchase))
        return await self._record(purchase, replace(progress, decline_code=decline_code or progress.decline_code))

    async def _withdraw_for_good(self, purchase: Purchase) -> None:
        # This service charges nothing for an EXTERNAL purchase.
        if purchase.provider != EXTERNAL and (await self._withdraw(purchase)).status is PurchaseStatus.HELD:
            # A bank still processes the payment.
            raise dependency_unavailable("payment provider")

    async def _record(self, purchase: Purchase, progress: Progress) -> Purchase:
        if purchase.provider == EXTERNAL:
            # Only ConfirmPurchase reports a payment of the caller's own system.
            return purchase
        return await self._holds.record_progress(purchase, progress)

    def _provider(self, purchase: Purchase) -> PaymentProvider:
        provider = self._providers.get(purchase.provider)
        if provider is None:
            log.error("a purchase is paid by a provider that is not configured", extra={"provider": purchase.provider})
            raise dependency_unavailable("payment provider")
        return provider

    async def _find(self, purchase_id: UUID, condition: Condition) -> Purchase:
        purchase = await self._database.run(lambda c: find_purchase(c, purchase_id, condition))
        if purchase is None:
            raise purchase_not_found(purchase_id)
        return purchase


def _facts(purchase: Purchase, failure: Failure) -> dict[str, object]:
    return {"event_id": purchase.event_id, "purchase_id": purchase.purchase_id, "reason": failure.reason}
