"""Read from the payment providers what a restored database lacks: charges, refunds and disputes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.payment_provider import ProviderHistory
from ticket_service.domain.looks import Listing
from ticket_service.domain.purchases import EXTERNAL, FREE
from ticket_service.domain.reconciliation import ProviderCharge, ProviderRefund
from ticket_service.domain.recovery import Finding, FindingKind
from ticket_service.store import restored as store
from ticket_service.store.events import lock_event, take_revision
from ticket_service.use_cases.reconciler import Reconciler
from ticket_service.use_cases.recovery_tickets import TicketPayment
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, dependency_unavailable

T = TypeVar("T")

# Sweeps of the reconciler in a row without progress, after which a provider counts as down.
MAX_IDLE_SWEEPS: Final = 30
IDLE_SECONDS: Final = 0.5
TRIES: Final = 3


class ProviderState:
    """The records of the configured providers since a moment."""

    def __init__(self, database: Database, histories: Mapping[str, ProviderHistory], since: datetime) -> None:
        self._database = database
        self._histories = histories
        self._since = since
        self._refunds: dict[tuple[str, str], Sequence[ProviderRefund]] = {}

    async def unrecorded_charges(self) -> dict[UUID, tuple[str, ProviderCharge]]:
        """Return the captured charges that no payment here has, by purchase, with the name of their provider."""
        found: dict[UUID, tuple[str, ProviderCharge]] = {}
        for provider in self._histories:
            async for charges, _ in self._pages(provider, Listing.CHARGES):
                ids = [charge.payment_id for charge in charges]
                recorded = await self._database.run(
                    partial(store.recorded_payments, provider=provider, payment_ids=ids)
                )
                for charge in charges:
                    purchase_id = _uuid(charge.purchase_id)
                    if charge.payment_id not in recorded and purchase_id is not None:
                        found[purchase_id] = (provider, charge)
        return found

    async def payments_of(self, event_id: UUID, ticket_ids: Collection[UUID]) -> dict[UUID, TicketPayment]:
        """Return the payments of tickets, with the refunds at their provider."""
        if not ticket_ids:
            return {}
        paid = await self._database.run(lambda c: store.payments_of(c, event_id, ticket_ids))
        return {
            ticket_id: TicketPayment(provider, payment_id, await self._refunds_of(provider, payment_id))
            for ticket_id, (provider, payment_id) in paid.items()
        }

    async def refunds_without_order(self) -> AsyncIterator[tuple[str, ProviderRefund]]:
        """Yield the refunds that this service ordered and has no order of, with the name of their provider."""
        for provider in self._histories:
            async for _, refunds in self._pages(provider, Listing.REFUNDS):
                ordered = {order_id: one for one in refunds if (order_id := _uuid(one.order_id)) is not None}
                known = await self._database.run(partial(store.known_orders, order_ids=list(ordered)))
                for order_id, refund in ordered.items():
                    if order_id not in known and refund.is_made:
                        yield provider, refund

    async def refunded(self, provider: str, payment_id: str) -> int:
        """Return the amount of a payment that its provider has returned."""
        return sum(one.amount for one in await self._refunds_of(provider, payment_id) if one.is_made)

    async def _refunds_of(self, provider: str, payment_id: str) -> Sequence[ProviderRefund]:
        key = (provider, payment_id)
        if provider in self._histories and key not in self._refunds:
            payment = await _ask(partial(self._histories[provider].payment, payment_id))
            self._refunds[key] = () if payment is None else payment.refunds
        return self._refunds.get(key, ())

    async def _pages(
        self, provider: str, listing: Listing
    ) -> AsyncIterator[tuple[Sequence[ProviderCharge], Sequence[ProviderRefund]]]:
        after: str | None = None
        while True:
            page = await _ask(partial(self._histories[provider].page, listing, self._since, after))
            yield (
                [one.charge for one in page.payments if one.charge is not None],
                [refund for one in page.payments for refund in one.refunds],
            )
            after = page.after
            if after is None:
                return


async def reconcile(database: Database, reconciler: Reconciler, providers: Sequence[str], now: datetime) -> None:
    """Compare everything with the providers, and return once all differences are applied.

    Raises:
        Failure: DEPENDENCY_UNAVAILABLE: a provider does not answer.
    """
    if not providers:
        return
    await database.run(lambda c: store.begin_whole_look(c, providers, now))
    left, idle = -1, 0
    while idle < MAX_IDLE_SWEEPS:
        is_more_due = await reconciler.sweep()
        before, left = left, await database.run(lambda c: store.unfinished_looks(c, providers))
        if left == 0:
            return
        idle = 0 if is_more_due or left != before else idle + 1
        if not is_more_due:
            await asyncio.sleep(IDLE_SECONDS)
    raise dependency_unavailable("payment provider")


def unmatched(connection: Connection) -> list[Finding]:
    """Return the captured payments that match no purchase and are not refunded."""
    return [
        Finding(
            FindingKind.PAYMENT_WITHOUT_PURCHASE,
            one.payment_id,
            _uuid(one.event_id),
            store.as_details(
                provider=one.provider,
                purchase_id=one.purchase_id,
                amount=one.amount,
                refunded=one.refunded,
                currency_code=one.currency,
            ),
        )
        for one in store.list_unmatched(connection)
    ]


def unconfigured(connection: Connection, configured: Collection[str]) -> list[Finding]:
    """Return the providers of payments here that cannot be asked."""
    unknown = store.used_providers(connection) - {EXTERNAL, FREE, *configured}
    return [Finding(FindingKind.PROVIDER_NOT_CONFIGURED, name) for name in sorted(unknown)]


def judge_refund(
    connection: Connection, provider: str, refund: ProviderRefund, refunded: int, now: datetime
) -> list[Finding]:
    """Return the finding of a refund whose order is lost, and block the tickets of a payment that was returned in full.

    `refunded` is the returned amount of the payment. The refund of one of several tickets looks like a lower price or
    goodwill for all of them. So a ticket of which some money is left stays valid until a person has judged.
    """
    paid = store.purchase_of_payment(connection, provider, refund.payment_id)
    if paid is None:
        # The payment has no purchase here, and is listed as such.
        return []
    event_id, purchase_id, amount = paid
    event = lock_event(connection, event_id)
    if event is None or store.is_outside_refund(connection, event_id, provider, refund.refund_id):
        # An earlier recovery listed the refund.
        return []
    blocked = 0
    if refunded >= amount:
        blocked = store.block_tickets(connection, event_id, purchase_id, event.revision, now)
        take_revision(connection, event_id, event.revision + blocked)
    details = {"purchase_id": str(purchase_id), "amount": refund.amount, "blocked_tickets": blocked}
    return [Finding(FindingKind.REFUND_WITHOUT_CANCELLATION, refund.refund_id, event_id, details)]


async def _ask(call: Callable[[], Awaitable[T]]) -> T:
    """Ask a provider, again after an outage, a bounded number of times."""
    for attempt in range(1, TRIES + 1):
        try:
            return await call()
        except Failure:
            if attempt == TRIES:
                raise
        await asyncio.sleep(backoff_seconds(attempt, first=0.5, max_seconds=5))
    raise AssertionError("unreachable: the last try returns or raises")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
