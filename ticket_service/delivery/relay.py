"""Deliver the notifications of the outbox to every receiver, at least once, in order per stream.

Several relays share the work. A relay claims deliveries for longer than one delivery may take and locks no row
meanwhile, so a receiver that hangs delays only its own deliveries. If a relay is killed, another one repeats its
deliveries after the claim.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from ticket_service.delivery.receiver import Receiver
from ticket_service.delivery.receiver_worker import ReceiverWorker
from ticket_service.delivery.settings import DeliveryTerms
from ticket_service.delivery.store.dispatch import Route, dispatch
from ticket_service.delivery.store.kept import forget
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.tasks import BackgroundTask, Essential, Sweepable, Tasks

# Rows of the outbox in one transaction.
MAX_DISPATCH: Final = 500
# Kept notifications that one transaction deletes, and the pause when nothing is left to delete.
MAX_FORGOTTEN: Final = 1_000
FORGET_SECONDS: Final = 60.0
# A relay that dispatches nothing for this time delivers nothing new. One batch may fan out to every buyer of an event.
SILENT_SECONDS: Final = 60.0


class Relay:
    """The sweepers of one relay: the dispatcher, a worker for each receiver, and the retention."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a relay
        self,
        database: Database,
        receivers: Sequence[Receiver],
        terms: DeliveryTerms,
        clock: Clock,
        tasks: Tasks,
        pausing: Callable[[Sweepable], Sweepable] = lambda work: work,
    ) -> None:
        # Wraps work that pauses while the database is recovered.
        self._pausing = pausing
        self._receivers = receivers
        self._terms = terms
        self._workers = [ReceiverWorker(database, receiver, terms, clock) for receiver in receivers]
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._opened = AsyncExitStack()

    def start(self, *, is_program: bool = False) -> None:
        """Start the sweepers; a process that does nothing else (`is_program`) is not ready while the dispatcher fails."""
        for receiver, worker in zip(self._receivers, self._workers, strict=True):
            worker.wake = self._sweep(f"delivery.{receiver.name}", worker, self._terms.interval_seconds).wake
        dispatcher = Dispatcher(self._database, self._receivers, self._terms, self._clock, self._workers)
        essential = Essential(SILENT_SECONDS, excuses_outages=True) if is_program else None
        self._sweep("outbox", dispatcher, self._terms.interval_seconds, essential)
        self._sweep("retention", _Retention(self._database, self._terms.kept_for, self._clock), FORGET_SECONDS)

    async def stop(self) -> None:
        """Stop; another relay repeats the deliveries in progress that do not end in time."""
        await self._opened.aclose()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        for receiver in self._receivers:
            await receiver.close()

    def _sweep(
        self, name: str, work: Sweepable, interval_seconds: float, essential: Essential | None = None
    ) -> BackgroundTask:
        task = self._tasks.sweep(name, self._pausing(work), interval_seconds, essential)
        self._opened.push_async_callback(task.stop)
        return task


class Dispatcher:
    """The sweeper that turns rows of the outbox into deliveries."""

    def __init__(
        self,
        database: Database,
        receivers: Sequence[Receiver],
        terms: DeliveryTerms,
        clock: Clock,
        workers: Sequence[ReceiverWorker],
    ) -> None:
        self._database = database
        self._routes = [Route(one.name, one.kinds, one.by_purchase) for one in receivers]
        self._keeps = terms.kept_for > timedelta(0)
        self._clock = clock
        self._workers = workers

    async def sweep(self) -> bool:
        """Dispatch one batch and wake the workers; return whether the outbox may have more rows."""
        taken = await self._database.run(
            lambda c: dispatch(c, self._routes, self._clock(), MAX_DISPATCH, keeps=self._keeps)
        )
        if taken:
            for worker in self._workers:
                worker.wake()
        return taken == MAX_DISPATCH


class _Retention:
    """The sweeper that deletes the notifications that were kept for long enough."""

    def __init__(self, database: Database, kept_for: timedelta, clock: Clock) -> None:
        self._database = database
        self._kept_for = kept_for
        self._clock = clock

    async def sweep(self) -> bool:
        """Delete one batch; return whether more may be due."""
        before = self._clock() - self._kept_for
        return await self._database.run(lambda connection: forget(connection, before, MAX_FORGOTTEN)) == MAX_FORGOTTEN
