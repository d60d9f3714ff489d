"""A worker process that draws tickets: it never takes the interpreter lock of the service, and less of a busy core.

The process is spawned: a fork of a process with gRPC's threads may block forever. It starts with the first drawing,
loads the libraries and fonts of a format once, and ends with the service, however the service ends.
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Final

from ticket_service.adapters.drawing import draw
from ticket_service.domain.drawings import Drawing
from ticket_service.domain.wallets import NO_WALLETS, Wallets

# The lowest priority number of a worker, a nice value: sales get ten times as much of a busy core as a drawing.
NICE: Final = 10
# The processor time of one job after which the kernel ends a worker.
MAX_CPU_SECONDS: Final = 60.0


class WorkerLostError(Exception):
    """Raised when the worker process ended while it drew."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn file, and the seconds that the worker took."""

    content: bytes
    seconds: float


class DrawingProcess:
    """One worker process, started again after its end; it draws one job at a time."""

    def __init__(self, wallets: Wallets = NO_WALLETS, max_cpu_seconds: float = MAX_CPU_SECONDS) -> None:
        self._wallets = wallets
        self._max_cpu_seconds = max_cpu_seconds
        self._executor: ProcessPoolExecutor | None = None
        # The worker ends when this end of the pipe closes, which the kernel does for a service that was killed.
        self._lifeline: Connection | None = None

    async def draw_each(self, drawings: Sequence[Drawing]) -> list[Drawn]:
        """Draw files, in order.

        Raises:
            WorkerLostError: the process ended meanwhile; the next call starts another one.
        """
        try:
            running = self._submit(tuple(drawings))
        except BrokenProcessPool:
            # The process ended while it was idle.
            await self.close()
            running = self._submit(tuple(drawings))
        try:
            return await running
        except BrokenProcessPool as error:
            await self.close()
            raise WorkerLostError from error

    async def close(self) -> None:
        """End the process at once, also while it draws."""
        executor, lifeline = self._executor, self._lifeline
        self._executor = self._lifeline = None
        if executor is not None and lifeline is not None:
            lifeline.close()
            await asyncio.to_thread(executor.shutdown)

    def _submit(self, drawings: tuple[Drawing, ...]) -> asyncio.Future[list[Drawn]]:
        loop = asyncio.get_running_loop()
        if self._executor is not None:
            return loop.run_in_executor(self._executor, _draw_each, drawings, self._max_cpu_seconds)
        context = get_context("spawn")
        worker_end, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(worker_end, self._wallets))
        # A process inherits blocked signals: Ctrl-C in a terminal also reaches a worker that does not ignore it yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            return loop.run_in_executor(self._executor, _draw_each, drawings, self._max_cpu_seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
            worker_end.close()


# The keys of this worker process.
_wallets: Wallets = NO_WALLETS
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM)


def _prepare(worker_end: Connection, wallets: Wallets) -> None:
    """Prepare a worker process: the service alone decides when it ends."""
    global _wallets  # noqa: PLW0603 - a worker has one set of keys, given once
    _wallets = wallets
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    # A sandbox may forbid the change; the worker then draws with the priority of the service.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    Thread(target=_end_with_service, args=(worker_end,), daemon=True).start()


def _end_with_service(worker_end: Connection) -> None:
    # Nothing is ever sent: the wait ends when the other end of the pipe is closed.
    worker_end.poll(None)
    os._exit(0)


def _draw_each(drawings: tuple[Drawing, ...], max_cpu_seconds: float) -> list[Drawn]:
    # The kernel ends the process at SIGPROF, even within a library that never returns to Python.
    signal.setitimer(signal.ITIMER_PROF, max_cpu_seconds)
    try:
        return [_draw(drawing) for drawing in drawings]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _draw(drawing: Drawing) -> Drawn:
    began = time.perf_counter()
    return Drawn(draw(drawing, _wallets), time.perf_counter() - began)
