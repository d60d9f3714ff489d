"""The work of a worker process that draws. The module imports little, because every worker imports it at its start."""

import os
import resource
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Final

from ticket_service.adapters.drawing import draw
from ticket_service.domain.drawings import Drawing
from ticket_service.domain.wallets import NO_WALLETS, Wallets

# A nice value: sales get fifteen times as much of a busy core as a drawing.
NICE: Final = 12
# The service alone decides when a worker ends. Ctrl-C in a terminal, and the end of a container, reach workers too.
IGNORED: Final = (signal.SIGINT, signal.SIGTERM)
# The sizes of this process in pages, on Linux.
_SIZES: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn file, the seconds that the worker took, and its memory in bytes afterwards."""

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
    return Drawn(content, time.perf_counter() - began, _memory())


def _memory() -> int:
    """Return the memory of this process in bytes; 0 where the system does not show it."""
    # Not ru_maxrss: Linux counts the memory of the service there too, from before the exec of this process. A service with
    # more than the bound would replace its worker after each drawing.
    return int(_SIZES.read_text().split()[1]) * resource.getpagesize() if _SIZES.exists() else 0


def _end_with_service(worker_end: Connection) -> None:
    # Nothing is ever sent: the wait ends when the service closes its end, or the kernel does so for a killed service.
    worker_end.poll(None)
    os._exit(0)
