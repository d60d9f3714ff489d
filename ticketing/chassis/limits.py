"""How much one caller may ask, and all together: refused at once, never queued, in bounded memory.

The two services' calls to each other are held up by none of it: a revocation must get through when everybody buys.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus_client import Gauge

from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.failures import overloaded

UNDER_WAY = Gauge("grpc_server_calls_under_way", "Unary calls being worked on.")
MAX_REMEMBERED: Final = 10_000
BURST_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers; the defaults are far above what a gate or a shop does."""

    # Unary calls worked on at once, of all callers.
    calls: int = 512
    # Unary calls and openings of streams a second, of one caller; a burst may be twice as many.
    calls_per_second: int = 2_000
    # Streams open at once, of one caller.
    streams: int = 1_000
    # The same of one device, which needs two, and two more while the network still holds on to dead ones.
    device_streams: int = 16


class Buckets:
    """A token bucket for each key: full at first, refilled steadily.

    Those that were not used for longest are forgotten first; by then they are full, unless there are more busy ones
    than are remembered.

    Args:
        per_second: how fast each is refilled.
        burst: what each holds.
        clock: monotonic, in seconds.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        # What was left, and when.
        self._left = OrderedDict[Hashable, tuple[float, float]]()

    def wait(self, key: Hashable) -> timedelta:
        """Return after which time there is something to take; zero: now."""
        left = self._now(key, self._clock())
        return timedelta(seconds=max(0.0, 1 - left) / self._per_second)

    def take(self, key: Hashable) -> None:
        """Take one; what is not there is owed, up to as much as a bucket holds."""
        now = self._clock()
        self._left[key] = (max(-self._burst, self._now(key, now) - 1), now)
        self._left.move_to_end(key)
        if len(self._left) > MAX_REMEMBERED:
            self._left.popitem(last=False)

    def _now(self, key: Hashable, now: float) -> float:
        left, then = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._per_second)


class Throttle:
    """Counts calls and streams against the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls = 0
        self._rate = Buckets(limits.calls_per_second, BURST_SECONDS * limits.calls_per_second)
        self._streams = Counter[Hashable]()
        UNDER_WAY.set_function(lambda: self._calls)

    @contextmanager
    def call(self, caller: Caller | None, address: str) -> Iterator[None]:
        """Hold one place among the unary calls.

        Args:
            caller: None where the call needs no credential.
            address: where it comes from.

        Raises:
            Failure: OVERLOADED.
        """
        if caller is not None and caller.is_any(Role.PEER):
            yield
            return
        self._rated(caller, address)
        if self._calls >= self._limits.calls:
            raise overloaded("calls")
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @contextmanager
    def stream(self, caller: Caller | None, address: str) -> Iterator[None]:
        """Hold one place among the caller's streams.

        Raises:
            Failure: OVERLOADED.
        """
        self._rated(caller, address)
        key = _key(caller, address)
        device = caller is not None and caller.is_any(Role.DEVICE)
        if self._streams[key] >= (self._limits.device_streams if device else self._limits.streams):
            raise overloaded("streams of one caller")
        self._streams[key] += 1
        try:
            yield
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

    def _rated(self, caller: Caller | None, address: str) -> None:
        if caller is not None and caller.is_any(Role.SERVICE, Role.PEER):
            # A backend calls for many.
            return
        key = _key(caller, address)
        if wait := self._rate.wait(key):
            raise overloaded("calls of one caller", wait)
        self._rate.take(key)


def _key(caller: Caller | None, address: str) -> Hashable:
    if caller is None:
        # Without the port, which is another for every connection.
        return address.rpartition(":")[0]
    return caller.is_any(Role.DEVICE), caller.subject
