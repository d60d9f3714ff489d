"""Periodic completion of work that a crash or an outage interrupted; processes share it by SKIP LOCKED."""

import asyncio
import logging
from typing import Protocol

from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)


class Sweepable(Protocol):
    """Work that may remain unfinished."""

    async def sweep(self) -> bool:
        """Complete a part of the work that is due; return whether more may be due at once."""


class Sweeper:
    """Sweeps `work`, at once when woken, and `interval_seconds` after a sweep that found nothing more to do."""

    def __init__(self, work: Sweepable, interval_seconds: float) -> None:
        self._work = work
        self._interval_seconds = interval_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sweeping in a background task."""
        self._task = asyncio.create_task(self._sweep_forever(), name="sweeper")

    def wake(self) -> None:
        """Sweep at once."""
        self._woken.set()

    async def stop(self) -> None:
        """Stop; the next sweep of any process completes the work that this one interrupts."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sweep_forever(self) -> None:
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
            # One fault must not end all sweeping: the next sweep finds the same work again.
            log.exception("a sweep failed")
        return False
