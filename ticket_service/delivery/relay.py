"""Delivers notifications: what is written to the outbox goes to every receiver, at least once, in order per ticket.

Several relays share the work. Rows are claimed for longer than a delivery may take, and no lock is held meanwhile, so
that a receiver that hangs keeps nobody but itself waiting; what a relay leaves when it dies is tried again once its
claim is over.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from prometheus_client import Gauge
from sqlalchemy.engine import Connection

from ticket_service.delivery import store
from ticket_service.domain.notifications import Delivery, Kind, UndeliveredError
from ticket_service.store.outbox import Route, dispatch
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.sweeper import Sweepable, Sweeper

log = logging.getLogger(__name__)

# Rows of the outbox in one transaction.
MAX_DISPATCH: Final = 500
# How long a claim goes on after the deadline of its deliveries, for them to be stored.
CLAIM_MARGIN: Final = timedelta(seconds=2)
LONGEST_RETRY_SECONDS: Final = 300.0
BACKLOG_SECONDS: Final = 15.0
# Of what a receiver says.
MAX_FAILURE: Final = 500

WAITING = Gauge("notifications_waiting", "Notifications that a receiver has not been told yet.", ["receiver"])
DEAD = Gauge("notifications_dead", "Notifications that were given up.", ["receiver"])


class Receiver(Protocol):
    """Whom notifications are delivered to."""

    @property
    def name(self) -> str:
        """As it stands in the database and in logs."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """What it is told."""

    @property
    def by_purchase(self) -> bool:
        """Whether it is told of events purchase by purchase."""

    @property
    def at_once(self) -> int:
        """How many deliveries it is given at once."""

    async def deliver(self, delivery: Delivery) -> None:
        """Deliver once; it may come again.

        Raises:
            UndeliveredError: it was not taken, or nobody knows.
        """

    async def close(self) -> None:
        """Let go of what is open."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How patient deliveries are."""

    # Of one delivery.
    deadline_seconds: float
    # The first wait before another try; it doubles.
    retry_seconds: float
    # Tries before a notification is given up.
    attempts: int
    # How long to rest where nothing is left to do.
    interval_seconds: float


class Relay:
    """Delivers to receivers until it is stopped.

    Args:
        database: its own, so that nothing else waits for its threads.
        receivers: those who are told.
        terms: how patient it is.
        clock: the present time.
    """

    def __init__(self, database: Database, receivers: Sequence[Receiver], terms: Terms, clock: Clock) -> None:
        self._receivers = receivers
        self._interval_seconds = terms.interval_seconds
        self._lanes = [Lane(database, receiver, terms, clock) for receiver in receivers]
        self._database = database
        self._clock = clock
        self._opened = AsyncExitStack()

    def start(self) -> None:
        """Begin."""
        lanes = [self._sweep(lane, self._interval_seconds) for lane in self._lanes]
        self._sweep(Dispatch(self._database, self._receivers, self._clock, lanes), self._interval_seconds)
        self._sweep(_Backlogs(self._database), BACKLOG_SECONDS)

    async def stop(self) -> None:
        """End; what is under way is delivered again by somebody."""
        await self._opened.aclose()
        for receiver in self._receivers:
            await receiver.close()

    def _sweep(self, work: Sweepable, interval_seconds: float) -> Sweeper:
        sweeper = Sweeper(work, interval_seconds)
        sweeper.start()
        self._opened.push_async_callback(sweeper.stop)
        return sweeper


class Dispatch:
    """Turns what is in the outbox into deliveries."""

    def __init__(
        self, database: Database, receivers: Sequence[Receiver], clock: Clock, lanes: Sequence[Sweeper]
    ) -> None:
        self._database = database
        self._routes = [Route(one.name, one.kinds, one.by_purchase) for one in receivers]
        self._clock = clock
        self._lanes = lanes

    async def sweep(self) -> bool:
        """Take what there is; tell whether there may be more."""
        taken = await self._database.run(lambda c: dispatch(c, self._routes, self._clock(), MAX_DISPATCH))
        if taken:
            for lane in self._lanes:
                lane.wake()
        return taken == MAX_DISPATCH


class Lane:
    """Delivers to one receiver."""

    def __init__(self, database: Database, receiver: Receiver, terms: Terms, clock: Clock) -> None:
        self._database = database
        self._receiver = receiver
        self._terms = terms
        self._clock = clock
        self._is_down = False

    async def sweep(self) -> bool:
        """Deliver what is due; tell whether there may be more.

        A receiver that took nothing may be down: it is left alone for a while, and then tried with one.
        """
        now = self._clock()
        until = now + timedelta(seconds=self._terms.deadline_seconds) + CLAIM_MARGIN
        name, limit = self._receiver.name, 1 if self._is_down else self._receiver.at_once
        taken = await self._database.run(lambda connection: store.take_due(connection, name, now, until, limit))
        failures = await asyncio.gather(*(self._try(delivery) for delivery in taken))
        told = list(zip(taken, failures, strict=True))
        await self._database.run(lambda connection: self._settle(connection, told))
        has_taken = any(failure is None for failure in failures)
        self._is_down = bool(taken) and not has_taken
        return has_taken

    async def _try(self, delivery: Delivery) -> UndeliveredError | None:
        """Deliver, or say why not."""
        try:
            async with asyncio.timeout(self._terms.deadline_seconds):
                await self._receiver.deliver(delivery)
        except UndeliveredError as error:
            return error
        except TimeoutError:
            return UndeliveredError(f"no answer within {self._terms.deadline_seconds:g} s")
        except Failure as failure:
            return UndeliveredError(failure.message)
        except Exception as error:
            # A notification that we cannot even send must not keep all others from being sent: it becomes dead.
            log.exception("a delivery failed", extra=_facts(delivery))
            return UndeliveredError(type(error).__name__)
        return None

    def _settle(self, connection: Connection, told: Sequence[tuple[Delivery, UndeliveredError | None]]) -> None:
        now = self._clock()
        store.remove(connection, [delivery for delivery, failure in told if failure is None])
        for delivery, failure in told:
            if failure is None:
                continue
            why = str(failure)[:MAX_FAILURE]
            if failure.for_good or delivery.attempts >= self._terms.attempts:
                log.error("a notification is given up", extra={**_facts(delivery), "why": why})
                store.give_up(connection, delivery, now, why)
            else:
                store.put_off(connection, delivery, now + self._wait(delivery), why)
        failed = [(delivery, failure) for delivery, failure in told if failure is not None]
        if failed:
            # One line for all: a receiver that is down would fill the log.
            facts = {**_facts(failed[0][0]), "why": str(failed[0][1])[:MAX_FAILURE], "failed": len(failed)}
            log.warning("notifications were not taken", extra=facts)

    def _wait(self, delivery: Delivery) -> timedelta:
        first = self._terms.retry_seconds
        return timedelta(
            seconds=backoff_seconds(delivery.attempts - 1, first=first, longest=max(first, LONGEST_RETRY_SECONDS))
        )


class _Backlogs:
    """Counts what receivers have not been told, for the metrics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self) -> bool:
        # A receiver without any is no longer in the table.
        for metric in (WAITING, DEAD):
            metric.clear()
        for backlog in await self._database.run(store.backlogs):
            WAITING.labels(backlog.receiver).set(backlog.waiting)
            DEAD.labels(backlog.receiver).set(backlog.dead)
        return False


def _facts(delivery: Delivery) -> dict[str, object]:
    return {
        "receiver": delivery.receiver,
        "kind": delivery.notification.kind,
        "notification_id": delivery.notification_id,
        "event_id": delivery.notification.event_id,
        "attempts": delivery.attempts,
    }
