"""Charge purchases: (1) hold the places, (2) create the charge, (3) confirm the charge, (4) record the outcome.

The sale does step 1. Step 2 stores the id of the charge; a charge whose id was not stored is never confirmed. Step 4
completes the purchase, or releases its places when the provider can capture nothing any more. A repeated request or,
after a crash, the sweeper continues: step 3 first reads the state of the charge from the provider. No transaction
contains a call to a provider.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

from ticket_service.adapters.payment_provider import PaymentProvider, Providers
from ticket_service.adapters.providers import provider_of
from ticket_service.domain.holds import ENDED, Payment
from ticket_service.domain.payments import ChargeState, Progress, charge_of
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.refusals import payment_processing, provider_not_configured, purchase_not_found
from ticket_service.store.access import Condition, purchase_visible_to
from ticket_service.store.purchases import find_purchase
from ticket_service.use_cases.confirmations import Confirmations
from ticket_service.use_cases.holds import Holds
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, dependency_unavailable

log = logging.getLogger(__name__)

# Attempts while the buyer waits; after them the sweeper continues.
TRIES: Final = 2
TRY_AGAIN_SECONDS: Final = 0.2
# Calls that advance a charge: create, confirm, and one more if another process advanced it meanwhile.
STEPS: Final = 3
# Charges that a withdrawal withdraws: the one that was read, and one that another process stored meanwhile. A stored id
# never changes, so the last one only bounds the loop.
WITHDRAWALS: Final = 3
# Purchases in one sweep: few enough that, even if the provider hangs, the sweep ends before other processes may claim the
# same purchases.
MAX_SWEEP: Final = 16


class Payments:
    """The use cases of charging purchases; `holds` records what providers report, `confirmations` what callers do."""

    def __init__(
        self, database: Database, holds: Holds, confirmations: Confirmations, providers: Providers, clock: Clock
    ) -> None:
        self._database = database
        self._holds = holds
        self._confirmations = confirmations
        self._providers = providers
        self._clock = clock

    def provider_for(self, payment_method: str) -> str:
        """Return the provider that charges a payment method; raise PROVIDER_NOT_CONFIGURED if it has no settings."""
        name = provider_of(payment_method)
        if name not in self._providers:
            raise provider_not_configured(name)
        return name

    async def begin(self, purchase: Purchase) -> None:
        """Charge a new HELD purchase until the charge is paid, waits for the buyer, or fails; the sweeper continues."""
        for attempt in range(TRIES):
            try:
                await self._advance(purchase)
            except Failure as failure:
                log.warning("a payment is left unfinished", extra=_log_fields(purchase, failure))
                await asyncio.sleep(backoff_seconds(attempt, first=TRY_AGAIN_SECONDS, max_seconds=1))
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
                await self._continue(purchase)
            elif purchase.status in ENDED:
                # The provider withdrew the charge. If it captured money nevertheless, this call records the payment.
                await self._withdraw(purchase)
            return
        purchase = await self._confirmations.find(caller, purchase_id)
        if _has_charge(purchase) and not await self._confirmations.check(purchase, payment):
            return
        await self._withdraw_for(purchase, lambda withdrawn: self._confirmations.confirm(caller, withdrawn, payment))

    async def release(self, caller: Caller, purchase_id: UUID) -> None:
        """Release a HELD purchase that `caller` may see.

        Raises:
            Failure: PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION; DEPENDENCY_UNAVAILABLE if the buyer may
                still be charged.
        """
        purchase = await self._find(purchase_id, purchase_visible_to(caller))
        await self._withdraw_for(purchase, lambda withdrawn: self._holds.release(caller, withdrawn))

    async def sweep(self, provider: str) -> bool:
        """Complete or release due purchases of one configured provider; return whether more may be due."""
        due = await self._holds.claim_due(provider, MAX_SWEEP)
        await asyncio.gather(*(self._try(purchase) for purchase in due))
        return len(due) == MAX_SWEEP

    async def sweep_unconfigured(self) -> bool:
        """Release ended holds of providers that are not configured; return whether more may be due.

        A hold with a stored charge keeps its places: only its provider knows whether the buyer has paid.
        """
        due = await self._holds.claim_unconfigured(list(self._providers), MAX_SWEEP)
        kept = [purchase for purchase in due if purchase.payment_id is not None]
        if kept:
            names = sorted({purchase.provider for purchase in kept})
            log.error(
                "holds end by a provider that is not configured", extra={"purchases": len(kept), "providers": names}
            )
        for purchase in due:
            if purchase.payment_id is None:
                # A charge without a stored id is never confirmed.
                await self._holds.record_progress(purchase, Progress(ChargeState.WITHDRAWN))
        return len(due) == MAX_SWEEP

    async def _try(self, purchase: Purchase) -> None:
        try:
            await self._continue(purchase)
        except Failure as failure:
            log.warning("a payment is tried again later", extra=_log_fields(purchase, failure))

    async def _continue(self, purchase: Purchase) -> None:
        """Advance the charge, or withdraw it after the end of the hold.

        A purchase without a stored charge is then not charged anew: in a restored database, its charge may be lost and
        paid, and the provider deletes the idempotency key of the charge after a day.
        """
        if purchase.hold_expire_time is not None and self._clock() >= purchase.hold_expire_time:
            await self._withdraw(purchase)
        else:
            await self._advance(purchase)

    async def _advance(self, purchase: Purchase) -> None:
        """Do steps 2 to 4 until the charge is paid, waits for the buyer, or is withdrawn."""
        provider = self._provider(purchase)
        for _ in range(STEPS):
            progress = await provider.advance(charge_of(purchase))
            if progress.state is ChargeState.DECLINED:
                # Until the charge is withdrawn, the buyer could pay with another card.
                await self._withdraw(replace(purchase, payment_id=progress.payment_id), progress.decline_code)
                return
            purchase = await self._record(purchase, progress)
            if progress.state is not ChargeState.CREATED or purchase.status is not PurchaseStatus.HELD:
                return

    async def _withdraw(self, purchase: Purchase, decline_code: str | None = None) -> Purchase:
        """Withdraw the charge and release the places; complete the purchase if it was paid already."""
        provider = self._provider(purchase)
        for _ in range(WITHDRAWALS):
            progress = await provider.withdraw(charge_of(purchase))
            progress = replace(progress, decline_code=decline_code or progress.decline_code)
            recorded = await self._record(purchase, progress)
            if recorded.status is not PurchaseStatus.HELD or recorded.payment_id == purchase.payment_id:
                return recorded
            # Another process has stored a charge since `purchase` was read, so nothing was released yet.
            purchase = recorded
        return purchase

    async def _withdraw_for(self, purchase: Purchase, record: Callable[[Purchase], Awaitable[Purchase | None]]) -> None:
        """Withdraw the charge of a purchase for a change that `record` makes while the places are still reserved.

        `record` returns the purchase if another process has stored another charge since the withdrawal.
        """
        other: Purchase | None = purchase
        for _ in range(WITHDRAWALS):
            if other is None:
                return
            await self._withdraw_only(other)
            other = await record(other)
        if other is not None:
            raise dependency_unavailable("payment provider")

    async def _withdraw_only(self, purchase: Purchase) -> None:
        """Withdraw the charge of a HELD purchase, which keeps its places; complete the purchase if it was paid already.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE: the buyer may still be charged.
        """
        if not _has_charge(purchase):
            return
        progress = await self._provider(purchase).withdraw(charge_of(purchase))
        if progress.state is not ChargeState.WITHDRAWN:
            recorded = await self._record(purchase, progress)
            if recorded.status is PurchaseStatus.HELD and recorded.payment_id == purchase.payment_id:
                raise payment_processing((recorded.due_time or self._clock()) - self._clock())

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


def _has_charge(purchase: Purchase) -> bool:
    """Return whether the provider may still charge the buyer."""
    return purchase.status is PurchaseStatus.HELD and purchase.provider != EXTERNAL


def _log_fields(purchase: Purchase, failure: Failure) -> dict[str, object]:
    return {"event_id": purchase.event_id, "purchase_id": purchase.purchase_id, "reason": failure.reason}
