"""The work of a worker process that draws. The module imports little, because every worker imports it at its start."""

import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Thread
from typing import Final

from ticket_service.adapters.drawing import draw
from ticket_service.domain.drawings import Drawing
from ticket_service.domain.wallets import NO_WALLETS, Wallets

# A nice value: sales get ten times as much of a busy core as a drawing.
NICE: Final = 10
# The service alone decides when a worker ends. Ctrl-C in a terminal, and the end of a container, reach workers too.
IGNORED: Final = (signal.SIGINT, signal.SIGTERM)
# The unit of ru_maxrss in bytes.
_MEMORY_UNIT: Final = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn file, the seconds that the worker took, and the largest memory that it has had, in bytes."""

    content: bytes
    seconds: float
    memory: int


# The keys of this worker process.
_wallets: Wallets = NO_WALLETS


def prepare(worker_end: Connection, wallets: Wallets) -> None:
    """Prepare a worker process, which ends when the other end of the pipe is closed."""
    global _wallets  # noqa: PLW0603 - a worker has one set of keys, given once
    _wallets = wallets
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    # A sandbox may forbid the change; the worker then draws with the priority of the service.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    Thread(target=_end_with_service, args=(worker_end,), daemon=True).start()


def draw_each(drawings: tuple[Drawing, ...], max_cpu_seconds: float) -> list[Drawn]:
    """Draw files, in order; the kernel ends the process after this processor time."""
    # The default action of SIGPROF ends the process, even within a library that never returns to Python.
    signal.setitimer(signal.ITIMER_PROF, max_cpu_seconds)
    try:
        return [_draw(drawing) for drawing in drawings]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _draw(drawing: Drawing) -> Drawn:
    began = time.perf_counter()
    content = draw(drawing, _wallets)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MEMORY_UNIT
    return Drawn(content, time.perf_counter() - began, memory)


def _end_with_service(worker_end: Connection) -> None:
    # Nothing is ever sent: the wait ends when the service closes its end, or the kernel does so for a killed service.
    worker_end.poll(None)
    os._exit(0)
