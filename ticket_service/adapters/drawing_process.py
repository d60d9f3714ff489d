"""A worker process that draws tickets: it never takes the interpreter lock of the service, and less of a busy core.

The process is spawned: a fork of a process with gRPC's threads may block forever. It starts with the first drawing,
loads the libraries and fonts of a format once, and ends with the service, however the service ends.
"""

import asyncio
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

from ticket_service.adapters.drawing_worker import IGNORED, Drawn, draw_each, prepare
from ticket_service.domain.drawings import Drawing
from ticket_service.domain.wallets import NO_WALLETS, Wallets

# The processor time of one job after which the kernel ends a worker.
MAX_CPU_SECONDS: Final = 60.0
# The memory in bytes beyond which a worker is replaced: libraries keep what the pages of a large order needed. A worker
# takes 130 MB after single pages, and 220 MB after 160 pages of one order.
MAX_MEMORY: Final = 256 * 1024 * 1024


class WorkerLostError(Exception):
    """Raised when the worker process ended while it drew."""


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
            drawn = await running
        except BrokenProcessPool as error:
            await self.close()
            raise WorkerLostError from error
        if any(one.memory > MAX_MEMORY for one in drawn):
            await self.close()
        return drawn

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
            return loop.run_in_executor(self._executor, draw_each, drawings, self._max_cpu_seconds)
        context = get_context("spawn")
        worker_end, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(1, context, initializer=prepare, initargs=(worker_end, self._wallets))
        # A process inherits blocked signals: Ctrl-C in a terminal also reaches a worker that does not ignore it yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        try:
            return loop.run_in_executor(self._executor, draw_each, drawings, self._max_cpu_seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
            worker_end.close()
