"""The pace and the end of watches: all watches poll at the same moments, and end with their caller or the service."""

import asyncio

from ticketing.chassis.callers import Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import unauthenticated
from ticketing.chassis.interceptor import current_caller


class WatchPacer:
    """The common pace of all watches of this process; it also ends them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._draining = asyncio.Event()
        self._revoked = frozenset[str]()

    async def wait(self, seconds: float) -> bool:
        """Wait for the next multiple of `seconds`, so that watches share a poll; return False when the service drains.

        Raises:
            Failure: as `check` does.
        """
        await self.check()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds - loop.time() % seconds):
                await self._draining.wait()
        except TimeoutError:
            return True
        return False

    async def check(self) -> bool:
        """Let other tasks run, and return False when the service drains.

        Raises:
            Failure: UNAUTHENTICATED once the caller's credential has expired or its device was revoked.
        """
        caller = current_caller()
        if caller.is_any(Role.DEVICE) and caller.subject in self._revoked:
            raise unauthenticated("the device was revoked")
        caller.check_expiry(self._clock())
        await asyncio.sleep(0)
        return not self._draining.is_set()

    def end_devices(self, device_ids: frozenset[str]) -> None:
        """End the watches of revoked devices at their next poll."""
        self._revoked = device_ids

    def drain(self) -> None:
        """End every watch."""
        self._draining.set()
