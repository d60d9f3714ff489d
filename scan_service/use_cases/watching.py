"""The end of streams that only tell: all of them wake at the same moments, and end with their caller or service."""

import asyncio

from ticketing.chassis.authentication import LEEWAY, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import unauthenticated
from ticketing.chassis.interceptor import current_caller


class Watching:
    """Lets those who watch wait for their next look.

    Args:
        clock: the present time, for credentials that end.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._draining = asyncio.Event()
        self._revoked = frozenset[str]()

    async def pause(self, seconds: float) -> bool:
        """Wait for the next multiple of `seconds`, so that many can share one look; False at the end of the service.

        Raises:
            Failure: UNAUTHENTICATED once the caller's credential has ended.
        """
        caller = current_caller()
        if caller.is_any(Role.DEVICE) and caller.subject in self._revoked:
            raise unauthenticated("the device was revoked")
        until = caller.expire_time
        if until is not None and self._clock() >= until + LEEWAY:
            raise unauthenticated("the token has expired")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds - loop.time() % seconds):
                await self._draining.wait()
        except TimeoutError:
            return True
        return False

    def end_devices(self, device_ids: frozenset[str]) -> None:
        """End the watches of devices that were revoked."""
        self._revoked = device_ids

    def drain(self) -> None:
        """End every watch."""
        self._draining.set()
