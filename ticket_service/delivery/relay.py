"""Deliver the notifications of the outbox to every receiver, at least once, in order per stream.

Several relays share the work. A relay claims deliveries for longer than one delivery may take and locks no row
meanwhile, so a receiver that hangs delays only its own deliveries. If a relay is killed, another one repeats its
deliveries after the claim.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from prometheus_client import Gauge
from sqlalchemy.engine import Connection

from ticket_service.delivery import store
from ticket_service.delivery.receiver import Delivery, Receiver, UndeliveredError
from ticket_service.delivery.settings import DeliveryTerms
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.tasks import BackgroundTask, Sweepable, Tasks

log = logging.getLogger(__name__)

# Rows of the outbox in one transaction.
MAX_DISPATCH: Final = 500
# A claim outlasts the deadline of its deliveries by this time, so that the relay can store the results.
CLAIM_MARGIN: Final = timedelta(seconds=2)
MAX_RETRY_SECONDS: Final = 300.0
BACKLOG_SECONDS: Final = 15.0
# The number of characters of a failure that are stored and logged.
MAX_FAILURE: Final = 500

WAITING = Gauge("notifications_waiting", "Notifications that a receiver did not get yet.", ["receiver"])
DEAD = Gauge("notifications_dead", "Dead letters.", ["receiver"])


class Relay:
    """The sweepers of one relay: the dispatcher, a worker for each receiver, and the metrics."""

    def __init__(
        self, database: Database, receivers: Sequence[Receiver], terms: DeliveryTerms, clock: Clock, tasks: Tasks
    ) -> None:
        self._receivers = receivers
        self._interval_seconds = terms.interval_seconds
        self._workers = [ReceiverWorker(database, receiver, terms, clock) for receiver in receivers]
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._opened = AsyncExitStack()

    def start(self) -> None:
        """Start the sweepers."""
        workers = [
            self._sweep(f"delivery.{receiver.name}", worker, self._interval_seconds)
            for receiver, worker in zip(self._receivers, self._workers, strict=True)
        ]
        dispatcher = Dispatcher(self._database, self._receivers, self._clock, workers)
        self._sweep("outbox", dispatcher, self._interval_seconds)
        self._sweep("backlog", _BacklogMetrics(self._database), BACKLOG_SECONDS)

    async def stop(self) -> None:
        """Stop; another relay repeats the deliveries in progress."""
        await self._opened.aclose()
        for receiver in self._receivers:
            await receiver.close()

    def _sweep(self, name: str, work: Sweepable, interval_seconds: float) -> BackgroundTask:
        task = self._tasks.sweep(name, work, interval_seconds)
        self._opened.push_async_callback(task.stop)
        return task


class Dispatcher:
    """The sweeper that turns rows of the outbox into deliveries."""

    def __init__(
        self, database: Database, receivers: Sequence[Receiver], clock: Clock, workers: Sequence[BackgroundTask]
    ) -> None:
        self._database = database
        self._routes = [store.Route(one.name, one.kinds, one.by_purchase) for one in receivers]
        self._clock = clock
        self._workers = workers

    async def sweep(self) -> bool:
        """Dispatch one batch and wake the workers; return whether the outbox may have more rows."""
        taken = await self._database.run(lambda c: store.dispatch(c, self._routes, self._clock(), MAX_DISPATCH))
        if taken:
            for worker in self._workers:
                worker.wake()
        return taken == MAX_DISPATCH


class ReceiverWorker:
    """The sweeper that delivers to one receiver."""

    def __init__(self, database: Database, receiver: Receiver, terms: DeliveryTerms, clock: Clock) -> None:
        self._database = database
        self._receiver = receiver
        self._terms = terms
        self._clock = clock
        self._is_down = False

    async def sweep(self) -> bool:
        """Make due deliveries; return whether more may be due.

        A receiver that accepted nothing may be down: the worker pauses, then tries one delivery.
        """
        now = self._clock()
        until = now + timedelta(seconds=self._terms.deadline_seconds) + CLAIM_MARGIN
        name, limit = self._receiver.name, 1 if self._is_down else self._receiver.max_parallel
        claimed = await self._database.run(lambda connection: store.claim_due(connection, name, now, until, limit))
        failures = await asyncio.gather(*(self._try(delivery) for delivery in claimed))
        results = list(zip(claimed, failures, strict=True))
        await self._database.run(lambda connection: self._record(connection, results))
        has_delivered = any(failure is None for failure in failures)
        self._is_down = bool(claimed) and not has_delivered
        return has_delivered

    async def _try(self, delivery: Delivery) -> UndeliveredError | None:
        """Try a delivery; return its failure, or None."""
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
            # A notification that the relay cannot send must not block the others: it becomes a dead letter.
            log.exception("a delivery failed unexpectedly", extra=_log_fields(delivery))
            return UndeliveredError(type(error).__name__)
        return None

    def _record(self, connection: Connection, results: Sequence[tuple[Delivery, UndeliveredError | None]]) -> None:
        now = self._clock()
        failed = [(delivery, failure) for delivery, failure in results if failure is not None]
        store.delete_delivered(connection, [delivery for delivery, failure in results if failure is None])
        for delivery, failure in failed:
            cause = str(failure)[:MAX_FAILURE]
            if failure.is_permanent or delivery.attempts >= self._terms.max_attempts:
                log.error("a notification is now a dead letter", extra={**_log_fields(delivery), "cause": cause})
                store.make_dead_letter(connection, delivery, now, cause)
            else:
                store.postpone(connection, delivery, now + self._wait(delivery), cause)
        if failed:
            # One line reports all failures: a line for each would fill the log while a receiver is down.
            facts = {**_log_fields(failed[0][0]), "cause": str(failed[0][1])[:MAX_FAILURE], "failed": len(failed)}
            log.warning("a receiver did not accept notifications", extra=facts)

    def _wait(self, delivery: Delivery) -> timedelta:
        first, max_seconds = self._terms.retry_seconds, max(self._terms.retry_seconds, MAX_RETRY_SECONDS)
        return timedelta(seconds=backoff_seconds(delivery.attempts - 1, first=first, max_seconds=max_seconds))


class _BacklogMetrics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self) -> bool:
        # The table contains no row of a receiver without deliveries.
        for metric in (WAITING, DEAD):
            metric.clear()
        for backlog in await self._database.run(store.count_backlogs):
            WAITING.labels(backlog.receiver).set(backlog.waiting)
            DEAD.labels(backlog.receiver).set(backlog.dead)
        return False


def _log_fields(delivery: Delivery) -> dict[str, object]:
    return {
        "receiver": delivery.receiver,
        "kind": delivery.notification.kind,
        "notification_id": delivery.notification_id,
        "event_id": delivery.notification.event_id,
        "attempts": delivery.attempts,
    }
