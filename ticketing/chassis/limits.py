"""Limits of calls and streams, per caller and in total: excess calls are refused at once, never queued.

The calls of the other service pass every limit: they must succeed while a service refuses its other callers.
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

UNDER_WAY = Gauge("grpc_server_calls_under_way", "Unary calls under way.")
MAX_KEYS: Final = 10_000
BURST_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one process; the defaults are far above the load of any usual caller."""

    # Unary calls under way, of all callers.
    calls: int = 512
    # Unary calls and opened streams per second, of one caller; a burst may be twice as large.
    calls_per_second: int = 2_000
    # The open streams of one caller.
    streams: int = 1_000
    # The open streams of one device, which needs two, and two more until the network drops dead ones.
    device_streams: int = 16


class RateLimiter:
    """A bucket of `burst` tokens for each key: full at first, refilled with `per_second` tokens by a monotonic clock.

    The bucket that was unused for longest is dropped first. By then it is full, unless more than MAX_KEYS keys are busy.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        # The tokens left, and the time of that count.
        self._left = OrderedDict[Hashable, tuple[float, float]]()

    def wait(self, key: Hashable) -> timedelta:
        """Return the time until the bucket of `key` has a token; zero: now."""
        left = self._now(key, self._clock())
        return timedelta(seconds=max(0.0, 1 - left) / self._per_second)

    def take(self, key: Hashable) -> None:
        """Take one token; the count may fall below zero, down to minus the capacity."""
        now = self._clock()
        self._left[key] = (max(-self._burst, self._now(key, now) - 1), now)
        self._left.move_to_end(key)
        if len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)

    def give_back(self, key: Hashable) -> None:
        """Return one token that was taken."""
        now = self._clock()
        self._left[key] = (min(self._burst, self._now(key, now) + 1), now)

    def _now(self, key: Hashable, now: float) -> float:
        left, then = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._per_second)


class CallLimiter:
    """The counts of the calls and streams of a process, and their limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls = 0
        self._rate = RateLimiter(limits.calls_per_second, BURST_SECONDS * limits.calls_per_second)
        self._streams = Counter[Hashable]()
        UNDER_WAY.set_function(lambda: self._calls)

    @contextmanager
    def call(self, caller: Caller | None, address: str) -> Iterator[None]:
        """Count a unary call as under way, or raise OVERLOADED; `caller` is None where it needs no credential."""
        if caller is not None and caller.is_any(Role.PEER):
            yield
            return
        self._check_rate(caller, address)
        if self._calls >= self._limits.calls:
            raise overloaded("calls")
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @contextmanager
    def stream(self, caller: Caller | None, address: str) -> Iterator[None]:
        """Count a stream as open, or raise OVERLOADED."""
        self._check_rate(caller, address)
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

    def _check_rate(self, caller: Caller | None, address: str) -> None:
        if caller is not None and caller.is_any(Role.SERVICE, Role.PEER):
            # A backend calls on behalf of many users.
            return
        key = _key(caller, address)
        if wait := self._rate.wait(key):
            raise overloaded("calls of one caller", wait)
        self._rate.take(key)


def _key(caller: Caller | None, address: str) -> Hashable:
    if caller is None:
        # The port differs for every connection.
        return address.rpartition(":")[0]
    return caller.is_any(Role.DEVICE), caller.subject
