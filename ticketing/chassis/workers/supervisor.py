"""Start the workers of a service, restart those that end or hang, and stop all of them.

The kernel distributes connections over the processes that listen on the port (SO_REUSEPORT), so a worker that has ended
gets none.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.workers.link import LINK_VARIABLE, WorkerReport

log = logging.getLogger(__name__)

# Full jitter keeps workers that end together from starting together.
FIRST_RESTART_SECONDS: Final = 0.5
MAX_RESTART_SECONDS: Final = 30.0
# A worker that has served this long ended by an accident: the wait begins again with the shortest one.
STABLE_SECONDS: Final = 60.0
# The time beyond the drain in which a worker closes its database connections.
STOP_MARGIN_SECONDS: Final = 10.0
# The exit status, as a shell reports it, of a process that could not be started.
NOT_STARTED: Final = 126

# A worker imports this module too, but only the supervisor exposes the count.
RESTARTS: Final = Counter(
    "ticketing_worker_restarts", "Workers that ended by themselves and were started again.", registry=None
)


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The command and number of the workers."""

    command: Sequence[str]
    environment: Mapping[str, str]
    count: int
    # The time between SIGTERM and the end of the last call.
    drain_seconds: float


class FailedStartError(Exception):
    """Raised when a worker ended before it had ever served: its settings or its environment are wrong."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a worker ended with exit status {status} before it served")
        self.status = status


class Worker:
    """One place of the supervisor: a process, started again whenever it ends."""

    def __init__(self, plan: WorkerPlan, number: int) -> None:
        self.number = number
        # None while no process of this place serves.
        self.report: WorkerReport | None = None
        self._plan = plan
        self._process: Process | None = None
        self._has_served = False
        self._stopping = asyncio.Event()

    @property
    def process_id(self) -> int | None:
        """The id of the running process; None between two processes."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def supervise(self) -> None:
        """Run the worker until `stop`; raise FailedStartError if it never served."""
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            began = loop.time()
            try:
                status = await self._run()
            except OSError:
                if not self._has_served:
                    raise
                # The machine may be out of memory or processes for a moment; the other workers serve.
                log.exception("a worker cannot be started", extra={"worker": self.number})
                status = NOT_STARTED
            if self._stopping.is_set():
                return
            if not self._has_served:
                raise FailedStartError(status)
            failures = 0 if loop.time() - began > STABLE_SECONDS else failures + 1
            wait = backoff_seconds(failures, first=FIRST_RESTART_SECONDS, max_seconds=MAX_RESTART_SECONDS)
            facts = {"worker": self.number, "exit_status": status, "restart_seconds": round(wait, 1)}
            log.error("a worker ended", extra=facts)
            RESTARTS.inc()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the process, if it runs, and start it no more."""
        self._stopping.set()
        self.kill(number)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _run(self) -> int:
        """Run the process once; return its exit status, negative for a signal."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            try:
                # A session of its own: Ctrl-C reaches the supervisor alone, which then drains the workers.
                self._process = await asyncio.create_subprocess_exec(
                    *self._plan.command,
                    env={**self._plan.environment, LINK_VARIABLE: str(descriptor)},
                    pass_fds=[descriptor],
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        if self._stopping.is_set():
            # The stop came while the process was being created.
            self.kill(signal.SIGTERM)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            # The end of the process ends the line too.
            if line := await reader.readline():
                self.report, self._has_served = WorkerReport.decode(line), True
            return await self._process.wait()
        finally:
            self.report = None
            writer.close()


class Supervisor:
    """The workers of a service."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self.workers: Sequence[Worker] = [Worker(plan, number) for number in range(plan.count)]

    async def run(self, stop_requested: asyncio.Event) -> None:
        """Run all workers until a stop is requested, then drain them.

        Raises:
            FailedStartError: a worker ended before it had ever served; all others are stopped.
        """
        tasks = [asyncio.create_task(worker.supervise(), name="worker") for worker in self.workers]
        stop = asyncio.create_task(stop_requested.wait(), name="stop of the workers")
        await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        await self._stop(tasks)
        for task in tasks:
            task.result()

    async def _stop(self, tasks: Sequence["asyncio.Task[None]"]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for worker in self.workers:
                worker.stop(number)
            _, running = await asyncio.wait(tasks, timeout=self._plan.drain_seconds + STOP_MARGIN_SECONDS)
            if not running:
                return
            log.error("workers do not stop", extra={"count": len(running)})
