"""Batching: requests that arrive while one batch is processed form the next batch.

An idle batcher processes the first request at once. Under load, a batch consists of the requests that arrived during the
commit of the previous one.

A caller often calls again as soon as it has its answer, just too late for the following batch. `gather_seconds` delays
that batch until such calls have arrived. The delay raised the throughput where a batch is costly and each request is an
RPC, but not for messages of streams. A second connection, on which the next batch began during the commit, did not raise
it either.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from prometheus_client import Counter, Gauge, Histogram

from ticketing.chassis import tracing
from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.waits import FACTS

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)
Request = TypeVar("Request")
Answer = TypeVar("Answer")

BATCH_SIZE = Histogram(
    "batch_size", "Requests in a batch.", ["batcher"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
WAITING = Gauge("batch_waiting", "Requests waiting for a batch.", ["batcher"])
REFUSED = Counter("batch_refused_total", "Requests refused with OVERLOADED, because too many wait.", ["batcher"])

Process = Callable[[Sequence[Request]], Awaitable[Sequence[Answer | Failure]]]


# A request that waits, its answer, and its span where tracing is on. An object of a class costs five times as much.
_Entry: TypeAlias = tuple[Request, asyncio.Future[Answer], "Span | None"]


class Batcher(Generic[Request, Answer]):
    """Runs `process`, which answers a batch in order, on one batch at a time.

    A Failure among the answers is raised to that caller alone; a Failure that `process` raises goes to every caller. After
    any other exception each request is processed alone, so that only the faulty one fails.

    `max_batch` bounds the weight of a batch by `weigh` (1 or more per request); a single request may exceed it. The request
    after `max_waiting` waiting ones is OVERLOADED. A batch that follows another waits `gather_seconds` for more requests.
    `describe` returns the ids of a request for its span.
    """

    def __init__(  # noqa: PLR0913 - a name, a function, and keywords
        self,
        name: str,
        process: Process[Request, Answer],
        *,
        max_batch: int,
        max_waiting: int,
        weigh: Callable[[Request], int] = lambda _: 1,
        gather_seconds: float = 0.0,
        describe: Callable[[Request], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._name = name
        self._process = process
        self._max_batch = max_batch
        self._weigh = weigh
        self._max_waiting = max_waiting
        self._gather_seconds = gather_seconds
        self._describe = describe
        self._waiting: deque[_Entry[Request, Answer]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._size, self._refused = BATCH_SIZE.labels(name), REFUSED.labels(name)
        WAITING.labels(name).set_function(self._waiting.__len__)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a batch."""
        return len(self._waiting)

    async def submit(self, request: Request) -> Answer:
        """Return the answer to `request` once its batch is processed.

        A cancelled request is skipped if its batch has not begun; a batch that has begun is completed.

        Raises:
            Failure: OVERLOADED where too many requests wait, or the Failure that `process` answered.
        """
        begin = perf_counter()
        try:
            return await self.enqueue(request)
        finally:
            if (facts := FACTS.get()) is not None:
                facts.add(f"batch of {self._name}", perf_counter() - begin)

    def enqueue(self, request: Request) -> "asyncio.Future[Answer]":
        """Return a future of the answer, for a caller that submits more requests meanwhile.

        Raises:
            Failure: OVERLOADED where too many requests wait.
        """
        if len(self._waiting) >= self._max_waiting:
            self._refused.inc()
            raise overloaded(self._name)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        span = None
        if (tracer := tracing.current()) is not None:
            span = tracer.start_request(self._name, self._describe(request))
            future.add_done_callback(tracer.ending(span))
        self._waiting.append((request, future, span))
        if self._worker is None:
            # In a context of its own: a line about a batch has not the request id of its first request.
            self._worker = asyncio.create_task(self._work(), name=f"batcher {self._name}", context=Context())
        return future

    async def close(self) -> None:
        """Process all waiting requests."""
        while self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        try:
            while self._waiting:
                if batch := self._next():
                    await self._run(batch)
                if self._gather_seconds and 0 < len(self._waiting) < self._max_batch:
                    await asyncio.sleep(self._gather_seconds)
        finally:
            self._worker = None

    def _next(self) -> list[_Entry[Request, Answer]]:
        batch: list[_Entry[Request, Answer]] = []
        remaining_weight = self._max_batch
        while self._waiting:
            weight = self._weigh(self._waiting[0][0])
            if batch and weight > remaining_weight:
                break
            entry = self._waiting.popleft()
            # The future of a cancelled request is done. It is skipped, because a batch that contained one hung.
            if not entry[1].done():
                batch.append(entry)
                remaining_weight -= weight
        return batch

    async def _run(self, batch: list[_Entry[Request, Answer]]) -> None:
        self._size.observe(len(batch))
        try:
            with tracing.batch(f"batch of {self._name}", [span for _, _, span in batch]):
                answers = await self._process([request for request, _, _ in batch])
            # A batch with too few answers is processed one by one: a caller without an answer would wait for ever.
            answered = list(zip(batch, answers, strict=True))
        except Failure as failure:
            answered = [(entry, failure) for entry in batch]
        except Exception as error:
            if len(batch) > 1:
                log.exception("a batch failed; its requests are processed one by one", extra={"batcher": self._name})
                for entry in batch:
                    await self._run([entry])
                return
            _complete(batch[0][1], error)
            return
        except BaseException:
            # The batch was cancelled, and so are its callers.
            for _, future, _ in batch:
                future.cancel()
            raise
        for (_, future, _), answer in answered:
            _complete(future, answer)


def _complete(future: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
