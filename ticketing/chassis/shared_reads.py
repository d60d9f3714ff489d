"""Sharing of equal reads: callers that ask for the same at the same time get the answer of one read.

A caller never gets an answer that was read before it asked. While a read of a key runs, all new callers of the key wait
together for the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from prometheus_client import Counter

Key = TypeVar("Key")
Answer = TypeVar("Answer")

READS = Counter("shared_reads_total", "Reads that several callers may share.", ["reads"])
CALLERS = Counter("shared_reads_callers_total", "Callers that got the answers of shared reads.", ["reads"])


class SharedReads(Generic[Key, Answer]):
    """Runs `read` once for all callers of a key that wait for it."""

    def __init__(self, name: str, read: Callable[[Key], Awaitable[Answer]]) -> None:
        self._read = read
        self._reads, self._callers = READS.labels(name), CALLERS.labels(name)
        # The reads that have not begun, and those that run.
        self._next = dict[Key, asyncio.Task[Answer]]()
        self._running = dict[Key, asyncio.Task[Answer]]()

    async def get(self, key: Key, *, may_have_begun: bool = False) -> Answer:
        """Return the answer of a read, or raise its exception.

        The read begins after this call, so it finds everything that was committed before; with `may_have_begun`, a
        running read suffices.
        """
        self._callers.inc()
        read = self._running.get(key) if may_have_begun else None
        if read is None and (read := self._next.get(key)) is None:
            read = self._next[key] = asyncio.create_task(self._run(key, self._running.get(key)), name="shared read")
            # Without this call, asyncio logs an exception that no caller has waited for.
            read.add_done_callback(lambda done: done.cancelled() or done.exception())
        # The shield protects the read: other callers may share it when this one is cancelled.
        return await asyncio.shield(read)

    async def _run(self, key: Key, earlier: "asyncio.Task[Answer] | None") -> Answer:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running[key] = self._next.pop(key)
        self._reads.inc()
        try:
            return await self._read(key)
        finally:
            del self._running[key]
