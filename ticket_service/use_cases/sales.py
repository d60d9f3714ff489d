"""Selling: orders that arrive together are answered together, in one transaction over all their events.

The hot path. It stays in the event loop, and a hot event costs one row lock a batch instead of one a sale.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from psycopg2.errors import LockNotAvailable

from ticket_service.domain.sales import Order, Replayed, SalesBatch, Sold, Terms, answer
from ticket_service.domain.secrets import Digests, Secrets
from ticket_service.store.sales import commit_batch, load_batch
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.loop_connection import LoopConnection

log = logging.getLogger(__name__)

# Tickets in one transaction, whose tokens are signed in the loop, 30 µs each; and orders that may wait for the next: about
# a second's worth.
MAX_BATCH: Final = 512
MAX_WAITING: Final = 2_048
# 64 callers bought 3 to 4 at once without it and 10 with it, a fifth more in a second: each call is accepted by itself, which
# takes longer than a batch of a few.
GATHER_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Issued:
    """A sale, and what its tickets open gates with, in their order."""

    sale: Sold
    secrets: tuple[Secrets, ...]


Outcome = Issued | Replayed


@dataclass(frozen=True, slots=True)
class SaleTerms:
    """What holds for every sale of this process."""

    issuing: Issuing
    # Tickets of one type in one purchase, where an offer says nothing stricter.
    max_per_purchase: int
    # How long places are kept until they are paid.
    hold: timedelta

    def at(self, now: datetime) -> Terms:
        """Return what holds for decisions made now."""
        return Terms(self.max_per_purchase, new_id, now, self.hold)


class Sales:
    """Sells tickets.

    Args:
        connection: prepared with the statements of `store.sales`.
        terms: what holds for every sale.
        clock: the present time.
        on_change: called after a commit, so that gates hear of the tickets at once.
    """

    def __init__(
        self, connection: LoopConnection, terms: SaleTerms, clock: Clock, on_change: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._clock = clock
        self._on_change = on_change
        # Events that somebody locked for longer than PostgreSQL lets us wait. Until they are free again nobody waits for
        # them, so that no other event's sales do.
        self._held_up = frozenset[UUID]()
        self._batcher: Batcher[Order, Outcome] = Batcher(
            "purchases",
            self._process,
            max_batch=MAX_BATCH,
            max_waiting=MAX_WAITING,
            weigh=_tickets,
            gather_seconds=GATHER_SECONDS,
        )

    async def buy(self, order: Order) -> Outcome:
        """Sell what was ordered, once it is committed.

        Raises:
            Failure: the reason why not.
        """
        return await self._batcher.submit(order)

    async def close(self) -> None:
        """Finish what has been ordered, then let go of the connection."""
        await self._batcher.close()
        self._connection.close()

    async def _process(self, orders: Sequence[Order]) -> Sequence[Outcome | Failure]:
        wait = self._held_up.isdisjoint(order.event_id for order in orders)
        try:
            outcomes = await self._connection.transact(lambda connection: self._sell(connection, orders, wait=wait))
        except Failure as failure:
            if not wait or not isinstance(failure.__cause__, LockNotAvailable):
                raise
            outcomes = await self._connection.transact(lambda connection: self._sell(connection, orders, wait=False))
        self._on_change()
        return outcomes

    async def _sell(
        self, connection: LoopConnection, orders: Sequence[Order], *, wait: bool
    ) -> list[Outcome | Failure]:
        book = await load_batch(connection, orders, wait=wait)
        self._note_held_up(book, orders)
        # Only now: who waited for the lock is judged by the hour at which they got it.
        terms = self._terms.at(self._clock())
        answers = [answer(order, book, terms) for order in orders]
        outcomes = [self._issued(found) if isinstance(found, Sold) else found for found in answers]
        issued = [outcome for outcome in outcomes if isinstance(outcome, Issued)]
        digests: dict[UUID, Digests] = {}
        for outcome in issued:
            for ticket, secrets in zip(outcome.sale.tickets, outcome.secrets, strict=True):
                digests[ticket.ticket_id] = self._terms.issuing.digests(secrets)
        await commit_batch(connection, book, [outcome.sale for outcome in issued], digests, terms.now)
        return outcomes

    def _note_held_up(self, book: SalesBatch, orders: Sequence[Order]) -> None:
        if found := book.held_up - self._held_up:
            log.warning(
                "events are locked by somebody; what is ordered of them is refused",
                extra={"event_ids": sorted(map(str, found))},
            )
        self._held_up = self._held_up - {order.event_id for order in orders} | book.held_up

    def _issued(self, sale: Sold) -> Issued:
        return Issued(sale, tuple(self._terms.issuing.secrets(ticket) for ticket in sale.tickets))


def _tickets(order: Order) -> int:
    """Count the tickets that are asked for."""
    return sum([quantity for _, quantity in order.quantities])
