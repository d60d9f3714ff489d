"""A batcher for each key, so that requests of one key share batches, and wait for no other key."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from ticketing.chassis.batcher import REFUSED, WAITING, Batcher
from ticketing.chassis.failures import Failure, overloaded

Key = TypeVar("Key", bound=Hashable)
Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Kept(Generic[Request, Answer]):
    """A batcher, kept while it has requests under way."""

    batcher: Batcher[Request, Answer]
    under_way: int = 0


class KeyedBatchers(Generic[Key, Request, Answer]):
    """Batchers that exist while they have requests; `process` answers the requests of one key in order.

    `max_batch` bounds each batch, and `max_under_way` the requests of all keys together: the next one is OVERLOADED.
    """

    def __init__(
        self,
        name: str,
        process: Callable[[Key, Sequence[Request]], Awaitable[Sequence[Answer | Failure]]],
        *,
        max_batch: int,
        max_under_way: int,
    ) -> None:
        self._name = name
        self._process = process
        self._max_batch = max_batch
        self._max_under_way = max_under_way
        self._under_way = 0
        self._kept = dict[Key, _Kept[Request, Answer]]()
        self._count_waiting()

    async def submit(self, key: Key, request: Request) -> Answer:
        """Return the answer to a request, as `Batcher.submit` does."""
        if self._under_way >= self._max_under_way:
            REFUSED.labels(self._name).inc()
            raise overloaded(self._name)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(self._new_batcher(key))
        kept.under_way += 1
        self._under_way += 1
        try:
            return await kept.batcher.submit(request)
        finally:
            self._under_way -= 1
            kept.under_way -= 1
            if not kept.under_way:
                # A batch whose callers gave up goes on without it.
                self._kept.pop(key, None)

    def _new_batcher(self, key: Key) -> Batcher[Request, Answer]:
        batcher: Batcher[Request, Answer] = Batcher(
            self._name, partial(self._process, key), max_batch=self._max_batch, max_waiting=self._max_under_way
        )
        self._count_waiting()
        return batcher

    def _count_waiting(self) -> None:
        """Let the gauge, which a new batcher takes for itself, count the requests that wait for all keys."""
        WAITING.labels(self._name).set_function(lambda: sum(kept.batcher.waiting for kept in self._kept.values()))
