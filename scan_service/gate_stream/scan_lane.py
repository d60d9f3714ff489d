"""The live scans of one stream: few of them in a batch at a time, so that one device that floods delays no other.

People pass one after the other; more than a few scans at once are a queue that was kept somewhere, or an attack. They wait
here, where they cost nothing, and count as unanswered.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.failures import Failure

MAX_AT_ONCE: Final = 8


class ScanLane:
    """Hands scans to the batcher, in their order.

    Args:
        batcher: decides and records.
        tell: called when an answer is there.
    """

    def __init__(self, batcher: Batcher[Attempt, Scan], tell: Callable[[], None]) -> None:
        self._batcher = batcher
        self._tell = tell
        self._deciding = 0
        self._waiting = deque[tuple[Attempt, asyncio.Future[Scan]]]()

    def take(self, attempt: Attempt) -> "asyncio.Future[Scan]":
        """Return the answer to come; cancelled, it is not decided unless that has begun.

        Raises:
            Failure: OVERLOADED where too many scans of all devices wait; the answer may have it as well.
        """
        if self._deciding < MAX_AT_ONCE:
            return self._enqueue(attempt)
        answer: asyncio.Future[Scan] = asyncio.get_running_loop().create_future()
        self._waiting.append((attempt, answer))
        return answer

    def _enqueue(self, attempt: Attempt) -> "asyncio.Future[Scan]":
        decided = self._batcher.enqueue(attempt)
        self._deciding += 1
        decided.add_done_callback(self._go_on)
        return decided

    def _go_on(self, _: "asyncio.Future[Scan]") -> None:
        self._deciding -= 1
        while self._waiting and self._deciding < MAX_AT_ONCE:
            attempt, answer = self._waiting.popleft()
            if answer.done():
                continue
            try:
                self._enqueue(attempt).add_done_callback(partial(_pass_on, answer))
            except Failure as failure:
                answer.set_exception(failure)
        # An answer that is passed on is there before whoever is told looks.
        self._tell()


def _pass_on(answer: "asyncio.Future[Scan]", decided: "asyncio.Future[Scan]") -> None:
    error = decided.exception()
    if answer.done():
        return
    if error is None:
        answer.set_result(decided.result())
    else:
        answer.set_exception(error)
