"""Compare the records of the payment providers with ours: on a schedule, and when an event of a provider wakes it.

A look reads the provider's listings page by page. Records that show something new make their payment due in a queue; so
does a verified event. For each queued payment the reconciler asks the provider about all its records and applies them.
The progress and the queue stand in the database: any process continues after a crash, and one process at a time works
on a page or a payment.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Gauge
from sqlalchemy.engine import Connection

from ticket_service.adapters.payment_provider import HistoryPage, ProviderHistory
from ticket_service.domain import looks as domain
from ticket_service.domain.findings import needs_look
from ticket_service.domain.looks import Look, LookSettings
from ticket_service.store import reconciler as store
from ticket_service.store.reconciler import QueuedPayment
from ticket_service.store.reconciliation import read_own_payments
from ticket_service.use_cases.reconciliation import Reconciliation
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

# Pages in one sweep of one provider, and payments in one sweep: few enough that, even if the provider hangs, the sweep
# ends before other processes may claim the same ones.
PAGES: Final = 5
PAYMENTS: Final = 8
CLAIM: Final = timedelta(seconds=60)
FIRST_RETRY_SECONDS: Final = 5.0
MAX_RETRY_SECONDS: Final = 900.0

LOOK_TIME: Final = Gauge(
    "provider_look_timestamp_seconds", "The begin of the last look of any process that ended.", ["provider"]
)


class Reconciler:
    """The use case of finding and applying differences to the providers' records."""

    def __init__(
        self,
        database: Database,
        histories: Mapping[str, ProviderHistory],
        reconciliation: Reconciliation,
        settings: LookSettings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._histories = histories
        self._reconciliation = reconciliation
        self._settings = settings
        self._clock = clock

    async def wake(self, provider: str, payment_id: str) -> None:
        """Make a payment due: an event says that it changed. The provider's records decide what changed.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE or OVERLOADED: the payment was not queued.
        """
        now = self._clock()
        await self._database.run(lambda c: store.enqueue(c, provider, [payment_id], now))

    async def sweep(self) -> bool:
        """Compare due payments and read due pages; return whether more may be due."""
        steps = [self._compare_queued(), *(self._look(provider) for provider in self._histories)]
        return any(await asyncio.gather(*steps))

    async def _look(self, provider: str) -> bool:
        """Read up to PAGES pages of the look that is due; return whether the look continues."""
        for _ in range(PAGES):
            if not await self._step(provider):
                return False
        return True

    async def _step(self, provider: str) -> bool:
        """Read one page, and make the payments due whose records show something new; return whether a page follows."""
        now = self._clock()
        until = now + CLAIM
        look = await self._database.run(lambda c: self._claim_look(c, provider, now, until))
        if look is None:
            return False
        _export(look)
        try:
            page = await self._histories[provider].page(look.listing, domain.since_of(look), look.after)
            after = await self._database.run(lambda c: self._apply_page(c, look, page, until))
        except Failure as failure:
            await self._postpone_look(look, failure, until)
            return False
        _export(after)
        if after.begin_time is None and look.begin_time is not None:
            log.info("a look at a payment provider ended", extra={"provider": provider, "is_whole": look.is_whole})
        return after.begin_time is not None

    def _claim_look(self, connection: Connection, provider: str, now: datetime, until: datetime) -> Look | None:
        look = store.claim_look(connection, provider, now, until)
        if look is not None and look.begin_time is None:
            return domain.begin(look, store.feed_epoch(connection), now, self._settings)
        return look

    def _apply_page(self, connection: Connection, look: Look, page: HistoryPage, until: datetime) -> Look:
        now = self._clock()
        own = read_own_payments(connection, look.provider, [one.payment_id for one in page.payments])
        new = [there.payment_id for there, ours in zip(page.payments, own, strict=True) if needs_look(there, ours)]
        store.enqueue(connection, look.provider, new, now)
        after = domain.advance(look, page.after, now, self._settings)
        store.store_look(connection, after, until)
        return after

    async def _postpone_look(self, look: Look, failure: Failure, until: datetime) -> None:
        seconds = backoff_seconds(look.failures, first=FIRST_RETRY_SECONDS, max_seconds=MAX_RETRY_SECONDS)
        later = domain.postpone(look, self._clock(), timedelta(seconds=seconds))
        # One warning at the start of an outage, not one for every retry.
        level = logging.DEBUG if look.failures else logging.WARNING
        log.log(level, "a look is tried again later", extra={"provider": look.provider, "reason": failure.reason})
        await self._database.run(lambda c: store.store_look(c, later, until))

    async def _compare_queued(self) -> bool:
        """Compare the payments that are due first; return whether more may be due."""
        now = self._clock()
        providers = list(self._histories)
        queued = await self._database.run(lambda c: store.claim_queued(c, providers, now, now + CLAIM, PAYMENTS))
        await asyncio.gather(*(self._compare(one) for one in queued))
        return len(queued) == PAYMENTS

    async def _compare(self, queued: QueuedPayment) -> None:
        try:
            there = await self._histories[queued.provider].payment(queued.payment_id)
            if there is not None:
                await self._reconciliation.apply(queued.provider, there)
            await self._database.run(lambda c: store.finish(c, queued, self._clock()))
        except Failure as failure:
            await self._postpone(queued, failure.reason)
        except Exception:
            # One payment that cannot be compared must not stop the others.
            log.exception("a payment could not be compared", extra=_log_fields(queued))
            await self._postpone(queued, "INTERNAL")

    async def _postpone(self, queued: QueuedPayment, reason: str) -> None:
        seconds = backoff_seconds(queued.attempts, first=FIRST_RETRY_SECONDS, max_seconds=MAX_RETRY_SECONDS)
        log.warning("a payment is compared again later", extra={**_log_fields(queued), "reason": reason})
        due_time = self._clock() + timedelta(seconds=seconds)
        await self._database.run(lambda c: store.postpone(c, queued, due_time))


def _export(look: Look) -> None:
    if look.success_time is not None:
        LOOK_TIME.labels(look.provider).set(look.success_time.timestamp())


def _log_fields(queued: QueuedPayment) -> dict[str, object]:
    return {"provider": queued.provider, "payment_id": queued.payment_id, "attempts": queued.attempts}
