"""The background tasks of a program: each repeats its work until it is stopped, and fails visibly.

Nothing else starts work that nobody awaits. A failure is counted and logged, the work is tried again after a wait with
backoff and jitter, and the time of the last success is exported. A task never ends by itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

LAST_SUCCESS: Final = Gauge(
    "ticketing_task_last_success_timestamp_seconds",
    "The time of the last success of a background task; before the first one, the time of its start.",
    ["task"],
)
FAILURES: Final = Counter("ticketing_task_failures", "Failures of a background task.", ["task"])

FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 5.0
# The log has a line when a task begins to fail and when it works again, and one line in this time while it fails.
REPEAT_LOG_SECONDS: Final = 60.0
# An outage of something else in this time after the start is not logged.
START_SECONDS: Final = 20.0
# A task that fails and works in turns begins to fail often: the log has one line in this time.
FLAPPING_LOG_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Essential:
    """The bound on the time without a success beyond which a task makes its process not ready."""

    seconds: float
    # True: a Failure, which is an outage of something else, counts as a success.
    excuses_outages: bool = False


class TaskRecord:
    """The successes and failures of one task; its work may report them from any thread."""

    def __init__(self, name: str, essential: Essential | None) -> None:
        self.name = name
        self.essential = essential
        self.failures = 0
        # The monotonic time of the last report of a success or an outage; None: the work has reported neither.
        self.report_time: float | None = None
        # The creation counts as a success: a process begins ready.
        self._success_time = monotonic()
        self._excused_time = 0.0
        self._begin_time = monotonic()
        self._has_succeeded = False
        self._log_time = float("-inf")
        self._is_failure_logged = False

    def succeeded(self, seconds_ago: float = 0.0) -> None:
        """Record a success."""
        self._success_time = self.report_time = monotonic() - seconds_ago
        self._has_succeeded = True
        LAST_SUCCESS.labels(self.name).set(time())
        failures, self.failures = self.failures, 0
        if self._is_failure_logged:
            self._is_failure_logged = False
            log.info("a background task works again", extra={"task": self.name, "failures": failures})

    def failed(self, error: BaseException, max_backoff_seconds: float = MAX_BACKOFF_SECONDS) -> float:
        """Record a failure; return the seconds to wait before the next try."""
        self.failures += 1
        FAILURES.labels(self.name).inc()
        now = monotonic()
        if isinstance(error, Failure):
            self.report_time = now
            if self.essential is not None and self.essential.excuses_outages:
                self._excused_time = now
        # At a start, the other service may not serve yet; both are usually started together.
        is_starting = not self._has_succeeded and now - self._begin_time < START_SECONDS
        if is_starting and isinstance(error, Failure):
            log.debug(
                "a background task waits for its first success", extra={"task": self.name, "reason": error.reason}
            )
        elif now - self._log_time >= (FLAPPING_LOG_SECONDS if self.failures == 1 else REPEAT_LOG_SECONDS):
            self._log_time, self._is_failure_logged = now, True
            self._log(error)
        return backoff_seconds(self.failures - 1, first=FIRST_BACKOFF_SECONDS, max_seconds=max_backoff_seconds)

    def silent_seconds(self) -> float:
        """Return the time without a success; an excused outage counts as one."""
        return monotonic() - max(self._success_time, self._excused_time)

    @property
    def is_overdue(self) -> bool:
        """Return whether the task makes its process not ready."""
        return self.essential is not None and self.silent_seconds() > self.essential.seconds

    def _log(self, error: BaseException) -> None:
        fields: dict[str, object] = {"task": self.name, "failures": self.failures}
        if isinstance(error, Failure):
            log.warning("a background task fails", extra={**fields, "reason": error.reason, "cause": error.message})
        else:
            log.error("a background task fails", extra=fields, exc_info=error)


# One turn of the work; returns True where more may be due at once.
Step = Callable[[], Awaitable[bool | None]]


class Sweepable(Protocol):
    """Work that may remain unfinished after a crash or an outage; processes share it by SKIP LOCKED."""

    async def sweep(self) -> bool:
        """Complete a part of the work that is due; return whether more may be due at once."""


class BackgroundTask:
    """A step that is repeated: at once when woken or when more is due, otherwise `interval_seconds` after its end.

    After a failure the next step waits longer each time, at most `max_backoff_seconds`; being woken does not shorten
    this wait, because a busy process wakes some tasks all the time. A step that lasts reports its successes to `record`
    itself.
    """

    def __init__(
        self,
        tasks: "Tasks",
        record: TaskRecord,
        step: Step,
        interval_seconds: float,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
    ) -> None:
        self.record = record
        # Tests replace the step.
        self.step = step
        self._tasks = tasks
        self._interval_seconds = interval_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task; a stopped task starts again."""
        self._tasks.enter(self)
        self._begin()

    def wake(self) -> None:
        """Repeat the step at once."""
        self._woken.set()

    async def stop(self) -> None:
        """Stop the task; its present step is cancelled."""
        task, self._task = self._task, None
        if task is not None:
            self._tasks.leave(self)
            task.cancel()
            await asyncio.wait([task])

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._repeat(), name=self.record.name)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Start again after an end that nobody requested."""
        if task is not self._task:
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception() or RuntimeError("the task has ended")
        self.record.failed(error)
        self._begin()

    async def _repeat(self) -> None:
        while True:
            self._woken.clear()
            try:
                is_more_due = await self.step()
            except asyncio.CancelledError as error:
                if (this := asyncio.current_task()) is None or this.cancelling():
                    raise
                # The step awaited something that was cancelled.
                await self._pause(error)
            except Exception as error:  # noqa: BLE001 - `failed` logs it
                await self._pause(error)
            else:
                self.record.succeeded()
                if not is_more_due:
                    await self._wait()

    async def _pause(self, error: BaseException) -> None:
        await asyncio.sleep(self.record.failed(error, self._max_backoff_seconds))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._woken.wait()
        except TimeoutError:
            pass


class Tasks:
    """The running background tasks of one program, by their names, which docs/running.md lists."""

    def __init__(self) -> None:
        self._running: dict[str, BackgroundTask] = {}

    def running(self) -> Sequence[BackgroundTask]:
        """Return the tasks that run; any thread may call this."""
        return list(self._running.values())

    def sweep(
        self, name: str, work: Sweepable, interval_seconds: float, essential: Essential | None = None
    ) -> BackgroundTask:
        """Start to sweep `work` every `interval_seconds`; return the task, which the caller stops."""
        task = self.new(name, work.sweep, interval_seconds, essential)
        task.start()
        return task

    def new(
        self,
        name: str,
        step: Step,
        interval_seconds: float,
        essential: Essential | None = None,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
    ) -> BackgroundTask:
        """Return a task that the caller starts and stops."""
        return BackgroundTask(self, TaskRecord(name, essential), step, interval_seconds, max_backoff_seconds)

    async def stop(self) -> None:
        """Stop every task that still runs."""
        for task in self.running():
            await task.stop()

    def enter(self, task: BackgroundTask) -> None:
        """Add a task that begins to run; each name is used once."""
        if task.record.name in self._running:
            raise ValueError(f"a background task {task.record.name} runs already")
        self._running[task.record.name] = task
        # A task that never succeeds must be visible too.
        LAST_SUCCESS.labels(task.record.name).set(time())

    def leave(self, task: BackgroundTask) -> None:
        """Remove a task that stops; its last success would soon look like a fault."""
        del self._running[task.record.name]
        LAST_SUCCESS.remove(task.record.name)
