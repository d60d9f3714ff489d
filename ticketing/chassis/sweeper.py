"""Goes on with what a crash or an outage left half-way; several processes share the work by SKIP LOCKED."""

import asyncio
import logging
from typing import Protocol

from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)


class Unfinished(Protocol):
    """Work that can be left half-way."""

    async def sweep(self) -> bool:
        """Go on with some of what is due; tell whether there may be more to do at once."""


class Sweeper:
    """Sweeps at intervals, and at once when woken.

    Args:
        work: what is swept.
        interval_seconds: how long to rest where nothing is left to do.
    """

    def __init__(self, work: Unfinished, interval_seconds: float) -> None:
        self._work = work
        self._interval_seconds = interval_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._sweep_on(), name="sweeper")

    def wake(self) -> None:
        """Sweep at once."""
        self._woken.set()

    async def stop(self) -> None:
        """End; what is under way is left to the next sweep of anyone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sweep_on(self) -> None:
        while True:
            self._woken.clear()
            if await self._sweep():
                continue
            try:
                async with asyncio.timeout(self._interval_seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _sweep(self) -> bool:
        try:
            return await self._work.sweep()
        except Failure as failure:
            log.warning("could not sweep", extra={"reason": failure.reason})
        except Exception:
            # One fault must not end all sweeping: what is due comes up again, and the log says why it did not go on.
            log.exception("a sweep failed")
        return False
