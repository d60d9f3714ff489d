"""Process orders in sales batches: orders that arrive together, for any events, share one transaction.

This is the hot path. It runs in the event loop, and a hot event costs one row lock for each batch instead of one for
each sale.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticket_service.domain.customers import UNBOUNDED, CustomerBounds
from ticket_service.domain.sales import HeldAgain, Order, Replayed, Sale, SaleContext, SalesBatch, answer
from ticket_service.domain.secrets import Secrets
from ticket_service.store.known_events import KnownEvents
from ticket_service.store.sales import NewSales, commit_batch, load_batch
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import RowsLocked
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.locked_events import COUNTED_SECONDS, LOCKED
from ticketing.chassis.loop_connection import LoopConnection

log = logging.getLogger(__name__)

# Tickets in one transaction: their tokens are signed in the event loop, 30 µs each.
MAX_BATCH: Final = 512
# Orders that may wait for the next batch: about as many as one second can sell.
MAX_WAITING: Final = 2_048
# With 64 callers, the wait raised the batch size from 3-4 to 10 orders and the throughput by a fifth. The reason:
# accepting each call takes longer than a batch of a few orders.
GATHER_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class IssuedSale:
    """A sale with the codes and tokens of its tickets, in their order."""

    sale: Sale
    secrets: tuple[Secrets, ...]


SaleOutcome = IssuedSale | Replayed | HeldAgain


@dataclass(frozen=True, slots=True)
class SaleSettings:
    """The settings that apply to every sale of this process."""

    issuing: Issuing
    # The maximum of tickets of one type in one purchase; an offer may set a lower maximum.
    max_per_purchase: int
    # The duration of a hold.
    hold: timedelta
    customers: CustomerBounds = UNBOUNDED

    def context(self, now: datetime) -> SaleContext:
        """Return the context of decisions made now."""
        return SaleContext(self.max_per_purchase, new_id, now, self.hold, self.customers)


class Sales:
    """The use case of buying tickets.

    Args:
        connection: a connection that has prepared the statements of `store.sales`.
        settings: the settings of every sale.
        clock: returns the present time.
        on_change: called after each commit, so that the feed sends the tickets at once.
        check: raises the failure with which all orders are refused at present.
    """

    def __init__(
        self,
        connection: LoopConnection,
        settings: SaleSettings,
        clock: Clock,
        on_change: Callable[[], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._check = check
        self._connection = connection
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        # Events that another transaction locked for longer than the lock_timeout of the connection, each with the time of
        # its last refusal. Until they are unlocked, no batch waits for them, so that the sales of other events do not wait
        # either.
        self._skipped = dict[UUID, float]()
        self._known = KnownEvents()
        LOCKED.labels("purchases").set_function(self._count_skipped)
        self._batcher: Batcher[Order, SaleOutcome] = Batcher(
            "purchases",
            self._process,
            max_batch=MAX_BATCH,
            max_waiting=MAX_WAITING,
            weigh=_tickets,
            gather_seconds=GATHER_SECONDS,
            describe=lambda order: {"event_id": str(order.event_id)},
        )

    async def buy(self, order: Order) -> SaleOutcome:
        """Answer an order: return its sale after the commit, or raise the failure for which it is refused."""
        return await self._batcher.submit(order)

    async def close(self) -> None:
        """Answer the waiting orders, then close the connection."""
        await self._batcher.close()
        self._connection.close()

    async def _process(self, orders: Sequence[Order]) -> Sequence[SaleOutcome | Failure]:
        # The orders may have waited since their calls were checked.
        self._check()
        free = [index for index, order in enumerate(orders) if order.event_id not in self._skipped]
        if len(free) == len(orders):
            outcomes = await self._wait_and_sell(orders)
        else:
            # Orders of locked events have a transaction of their own, so that all others may wait for short locks.
            by_index = dict[int, SaleOutcome | Failure]()
            if free:
                by_index |= zip(free, await self._wait_and_sell([orders[index] for index in free]), strict=True)
            skipped = [index for index in range(len(orders)) if index not in by_index]
            try:
                by_index |= zip(
                    skipped, await self._transact([orders[index] for index in skipped], wait=False), strict=True
                )
            except Failure as failure:
                # The answers of the others are committed.
                by_index |= dict.fromkeys(skipped, failure)
            outcomes = [by_index[index] for index in range(len(orders))]
        self._on_change()
        return outcomes

    async def _wait_and_sell(self, orders: Sequence[Order]) -> Sequence[SaleOutcome | Failure]:
        try:
            return await self._transact(orders, wait=True)
        except RowsLocked:
            return await self._transact(orders, wait=False)

    async def _transact(self, orders: Sequence[Order], *, wait: bool) -> Sequence[SaleOutcome | Failure]:
        return await self._connection.transact(lambda connection: self._sell(connection, orders, wait=wait))

    async def _sell(
        self, connection: LoopConnection, orders: Sequence[Order], *, wait: bool
    ) -> list[SaleOutcome | Failure]:
        bounds = self._settings.context(self._clock())
        batch = await load_batch(connection, self._known, orders, bounds, wait=wait)
        self._note_skipped(batch, orders)
        # The time is read after the wait for the locks: orders are decided as of the time of the event lock.
        context = self._settings.context(self._clock())
        answers = [answer(order, batch, context) for order in orders]
        outcomes = [self._issue(result) if isinstance(result, Sale) else result for result in answers]
        issued = [outcome for outcome in outcomes if isinstance(outcome, IssuedSale)]
        again = [outcome for outcome in outcomes if isinstance(outcome, HeldAgain)]
        digests = [self._settings.issuing.digests(secrets) for outcome in issued for secrets in outcome.secrets]
        new = NewSales([outcome.sale for outcome in issued], digests, again)
        await commit_batch(connection, batch, new, context.now)
        return outcomes

    def _note_skipped(self, batch: SalesBatch, orders: Sequence[Order]) -> None:
        if newly_skipped := batch.skipped - self._skipped.keys():
            log.warning(
                "events are locked by another transaction; their orders are refused",
                extra={"event_ids": sorted(map(str, newly_skipped))},
            )
        ordered = {order.event_id for order in orders}
        kept = {event_id: refused for event_id, refused in self._skipped.items() if event_id not in ordered}
        self._skipped = kept | dict.fromkeys(batch.skipped, time.monotonic())

    def _count_skipped(self) -> int:
        """Count the locked events; the thread of the metrics calls this."""
        now = time.monotonic()
        return sum(now - refused < COUNTED_SECONDS for refused in self._skipped.values())

    def _issue(self, sale: Sale) -> IssuedSale:
        return IssuedSale(sale, tuple(self._settings.issuing.secrets(ticket) for ticket in sale.tickets))


def _tickets(order: Order) -> int:
    return sum([quantity for _, quantity in order.quantities])
