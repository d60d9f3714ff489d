"""The lane of one stream's live scans: a stream has few scans in a batch, so a flooding device delays no other device.

People pass a gate one after the other. More than a few scans at once come from a queue of the device or from an attack.
They wait in the lane, where they cost nothing, and count as unanswered.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.failures import Failure

MAX_AT_ONCE: Final = 8


class ScanLane:
    """The queue that passes the live scans of one stream to the batcher, in their order."""

    def __init__(self, batcher: Batcher[Attempt, Scan], on_answer: Callable[[], None]) -> None:
        self._batcher = batcher
        self._on_answer = on_answer
        self._deciding = 0
        self._waiting = list[tuple[Attempt, asyncio.Future[Scan]]]()

    def submit(self, attempt: Attempt) -> "asyncio.Future[Scan]":
        """Return the future answer; an attempt whose future is cancelled is skipped unless its batch has begun.

        Where too many scans of all devices wait, OVERLOADED is raised here or by the future.
        """
        if self._deciding < MAX_AT_ONCE:
            return self._enqueue(attempt)
        answer: asyncio.Future[Scan] = asyncio.get_running_loop().create_future()
        self._waiting.append((attempt, answer))
        return answer

    def _enqueue(self, attempt: Attempt) -> "asyncio.Future[Scan]":
        future = self._batcher.enqueue(attempt)
        self._deciding += 1
        future.add_done_callback(self._advance)
        return future

    def _advance(self, _: "asyncio.Future[Scan]") -> None:
        self._deciding -= 1
        while self._waiting and self._deciding < MAX_AT_ONCE:
            attempt, answer = self._waiting.pop(0)
            if answer.done():
                continue
            try:
                self._enqueue(attempt).add_done_callback(partial(_copy_result, answer))
            except Failure as failure:
                answer.set_exception(failure)
        # `_copy_result` of the finished scan runs before the woken writer reads the answer.
        self._on_answer()


def _copy_result(answer: "asyncio.Future[Scan]", finished: "asyncio.Future[Scan]") -> None:
    error = finished.exception()
    if answer.done():
        return
    if error is None:
        answer.set_result(finished.result())
    else:
        answer.set_exception(error)
