"""The times at which refused callers may try again, one after the other."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from ticketing.chassis.failures import RETRY_SOON

# A refusal takes most of the CPU of a small call, nearly all of it in gRPC. At this rate, refusals take a tenth of a core.
REFUSALS_PER_SECOND: Final = 250
MAX_RETRY: Final = timedelta(seconds=30)


class RetryTurns:
    """The turns of one limit: each begins RETRY_SOON later at the earliest, and a moment after the one before.

    So callers that obey return at REFUSALS_PER_SECOND, however many were refused at once. With the same wait for all of
    them, thousands of callers would return together, and be refused together, each second. No turn is later than MAX_RETRY.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last = 0.0

    def take(self) -> timedelta:
        """Return the time until the next turn."""
        now = self._monotonic()
        soonest, latest = now + RETRY_SOON.total_seconds(), now + MAX_RETRY.total_seconds()
        self._last = min(max(soonest, self._last + 1 / REFUSALS_PER_SECOND), latest)
        return timedelta(seconds=self._last - now)
