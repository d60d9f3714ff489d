"""A limit on how often something happens, for each of many keys."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

MAX_KEYS: Final = 10_000


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
        """Return one token that was taken; a bucket that was dropped meanwhile is full."""
        if key not in self._left:
            return
        now = self._clock()
        self._left[key] = (min(self._burst, self._now(key, now) + 1), now)

    def _now(self, key: Hashable, now: float) -> float:
        left, then = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._per_second)
