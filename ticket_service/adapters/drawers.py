"""Draw tickets in worker processes: a bounded queue in which callers take turns, and a cache of drawn files.

Drawing in a thread stops the event loop again and again, because a thread gives the interpreter lock back only every
5 ms: while eight threads drew pages, sales fell to a twentieth.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ticket_service.adapters.drawing_process import DrawingProcess, WorkerLostError
from ticket_service.adapters.drawing_worker import Drawn
from ticket_service.adapters.drawn_files import DrawnFiles
from ticket_service.domain.drawings import Drawing, drawing_key
from ticket_service.domain.wallets import NO_WALLETS, Wallets
from ticketing.chassis.failures import dependency_unavailable, overloaded
from ticketing.chassis.waits import waiting_for

log = logging.getLogger(__name__)

WAITING: Final = Gauge("drawings_waiting", "Calls and mails that wait for a worker process.", ["drawers"])
SECONDS: Final = Histogram("drawing_seconds", "Time in which a worker process drew one file.", ["format"])
FAILURES: Final = Counter("drawing_failures_total", "Files that were not drawn, by cause.", ["cause"])
CACHED: Final = Counter("drawings_cached_total", "Files that needed no drawing, because an equal one was at hand.")

# The pause after a job that ended its worker again and again: a worker that cannot start must not start all the time.
RESTART_SECONDS: Final = 1.0
MAX_REST_SECONDS: Final = 0.2
# A worker that is lost draws the job once more; a job that ends its worker twice fails.
TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class DrawingLimits:
    """The limits of a pool of workers."""

    workers: int = 1
    # The jobs that wait; the next one is OVERLOADED.
    waiting: int = 64
    # The time after which a job is OVERLOADED; the deadline of the call may end it before.
    seconds: float = 30.0
    cache_bytes: int = 32 * 1024 * 1024
    cache_seconds: float = 600.0
    # A worker rests this many times as long as it has drawn, at most MAX_REST_SECONDS: a low priority alone does not help
    # sales. Eight callers that drew 55 pages a second without a rest took 40 % of the sales on two cores.
    rest: float = 4.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A caller, and the number of its jobs that may wait: callers take turns, so none waits for all jobs of another."""

    caller: Hashable
    max_waiting: int


@dataclass(eq=False, slots=True)
class _Wanted:
    """A file that is to be drawn, shared by all who want it."""

    drawing: Drawing
    key: bytes
    done: asyncio.Future[bytes]
    # The number of jobs that wait for the file.
    waiting: int = 0


@dataclass(eq=False, slots=True)
class _Queue:
    """Jobs that wait: in order for one caller, one after another of different callers."""

    jobs: OrderedDict[Hashable, deque[list[_Wanted]]] = field(default_factory=OrderedDict)
    length: int = 0

    def count_of(self, caller: Hashable) -> int:
        return len(self.jobs.get(caller, ()))

    def put(self, caller: Hashable, job: list[_Wanted]) -> None:
        self.jobs.setdefault(caller, deque()).append(job)
        self.length += 1

    def take(self) -> list[_Wanted]:
        caller, jobs = self.jobs.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self.jobs[caller] = jobs
        self.length -= 1
        return job


class Drawers:
    """A pool of worker processes; each starts when a drawing first needs it."""

    def __init__(self, name: str, limits: DrawingLimits, wallets: Wallets = NO_WALLETS) -> None:
        self._name = name
        self._limits = limits
        self._queue = _Queue()
        self._idle = [DrawingProcess(wallets) for _ in range(limits.workers)]
        self._processes = tuple(self._idle)
        self._tasks = set[asyncio.Task[None]]()
        self._files = DrawnFiles(limits.cache_bytes, limits.cache_seconds)
        self._wanted = dict[bytes, _Wanted]()
        WAITING.labels(name).set_function(lambda: self._queue.length)

    async def draw(self, drawing: Drawing, turn: Turn) -> bytes:
        """Draw one file; see `draw_each`."""
        [content] = await self.draw_each([drawing], turn)
        return content

    async def draw_each(self, drawings: Sequence[Drawing], turn: Turn) -> list[bytes]:
        """Draw files as one job, in order; files that nobody waits for any more are not drawn.

        Raises:
            Failure: OVERLOADED: too many jobs wait, or the job waited for too long. DEPENDENCY_UNAVAILABLE: its worker
                ended twice.
        """
        keys = [drawing_key(drawing) for drawing in drawings]
        found = {key: content for key in set(keys) if (content := self._files.get(key)) is not None}
        missing = {key: drawing for key, drawing in zip(keys, drawings, strict=True) if key not in found}
        CACHED.inc(len(found))
        if missing:
            with waiting_for("drawing"):
                found |= await self._wait_for(self._want(missing, turn))
        return [found[key] for key in keys]

    async def close(self) -> None:
        """End the workers at once; waiting jobs fail with CancelledError."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(process.close() for process in self._processes))
        for wanted in self._wanted.values():
            wanted.done.cancel()

    def _want(self, missing: dict[bytes, Drawing], turn: Turn) -> list[_Wanted]:
        """Return the files that are drawn already for another caller, and put the others into the queue."""
        shared = [wanted for key in missing if (wanted := self._wanted.get(key)) is not None]
        CACHED.inc(len(shared))
        loop = asyncio.get_running_loop()
        job = [
            _Wanted(drawing, key, loop.create_future()) for key, drawing in missing.items() if key not in self._wanted
        ]
        if job:
            self._check_room(turn)
            self._queue.put(turn.caller, job)
            self._wanted |= {wanted.key: wanted for wanted in job}
            self._start_worker()
        return shared + job

    def _check_room(self, turn: Turn) -> None:
        is_full = self._queue.length >= self._limits.waiting
        if is_full or self._queue.count_of(turn.caller) >= turn.max_waiting:
            FAILURES.labels("overloaded").inc()
            raise overloaded("drawings" if is_full else "drawings of one caller")

    async def _wait_for(self, all_wanted: list[_Wanted]) -> dict[bytes, bytes]:
        for wanted in all_wanted:
            wanted.waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                # Without the shield, the cancellation of one call would cancel the drawing for its other callers.
                return {wanted.key: await asyncio.shield(wanted.done) for wanted in all_wanted}
        except TimeoutError:
            FAILURES.labels("too late").inc()
            raise overloaded("drawings") from None
        finally:
            for wanted in all_wanted:
                wanted.waiting -= 1

    def _start_worker(self) -> None:
        if self._idle:
            # The process that was used last: the others need not start.
            task = asyncio.create_task(self._work(self._idle.pop()), name=f"drawers {self._name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, process: DrawingProcess) -> None:
        try:
            while self._queue.length:
                taken = self._queue.take()
                job = [wanted for wanted in taken if wanted.waiting]
                for wanted in taken:
                    if not wanted.waiting:
                        del self._wanted[wanted.key]
                if job:
                    seconds = await self._draw_job(process, job)
                    for wanted in job:
                        del self._wanted[wanted.key]
                    await asyncio.sleep(min(self._limits.rest * seconds, MAX_REST_SECONDS))
        finally:
            self._idle.append(process)

    async def _draw_job(self, process: DrawingProcess, job: Sequence[_Wanted]) -> float:
        """Draw the files of a job; return the seconds that the worker took."""
        try:
            drawn = await self._draw_with_retry(process, [wanted.drawing for wanted in job])
        except Exception as error:  # noqa: BLE001 - every waiting call gets it
            FAILURES.labels(type(error).__name__).inc(len(job))
            failure = dependency_unavailable("drawing worker") if isinstance(error, WorkerLostError) else error
            for wanted in job:
                wanted.done.set_exception(failure)
                # Nobody may wait any more, and asyncio would log the exception a second time.
                wanted.done.exception()
            if isinstance(error, WorkerLostError):
                await asyncio.sleep(RESTART_SECONDS)
            return 0.0
        for wanted, one in zip(job, drawn, strict=True):
            SECONDS.labels(wanted.drawing.format).observe(one.seconds)
            self._files.put(wanted.key, one.content)
            wanted.done.set_result(one.content)
        return sum(one.seconds for one in drawn)

    async def _draw_with_retry(self, process: DrawingProcess, drawings: Sequence[Drawing]) -> list[Drawn]:
        for attempt in range(1, TRIES + 1):
            try:
                return await process.draw_each(drawings)
            except WorkerLostError:
                log.error("a worker process that draws ended", extra={"drawers": self._name, "attempt": attempt})  # noqa: TRY400 - the traceback shows nothing of the worker
                if attempt == TRIES:
                    raise
        raise AssertionError  # the loop returns or raises
