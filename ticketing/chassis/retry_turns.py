"""The times at which the refused calls of one caller may be tried again, one after the other."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

from ticketing.chassis.failures import RETRY_SOON

# A refusal takes most of the CPU of a small call, nearly all of it in gRPC. At this rate, refusals take a tenth of a core.
REFUSALS_PER_SECOND: Final = 250
MAX_RETRY: Final = timedelta(seconds=30)
# The caller that was refused longest ago is forgotten first, and begins anew.
MAX_CALLERS: Final = 10_000


class RetryTurns:
    """The turns of one limit: each begins RETRY_SOON later at the earliest, and a moment after the caller's one before.

    So the calls of a backend that obeys return at REFUSALS_PER_SECOND, however many were refused at once. With the same wait
    for all of them, thousands would return together, and be refused together, each second. No turn is later than MAX_RETRY.
    A caller that does not obey delays its own turns alone.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # The last turn of each caller.
        self._last = OrderedDict[Hashable, float]()

    def take(self, caller: Hashable) -> timedelta:
        """Return the time until the next turn of a caller."""
        now = self._monotonic()
        soonest, latest = now + RETRY_SOON.total_seconds(), now + MAX_RETRY.total_seconds()
        turn = min(max(soonest, self._last.get(caller, 0.0) + 1 / REFUSALS_PER_SECOND), latest)
        self._last[caller] = turn
        self._last.move_to_end(caller)
        if len(self._last) > MAX_CALLERS:
            self._last.popitem(last=False)
        return timedelta(seconds=turn - now)
