"""A service as it is, with a clock that the nemesis sets and, in a negative control, without one of its guards.

python -m tests.faults.program MODULE CLOCK_FILE [GUARD]: the file contains the seconds by which the clock is ahead.
"""

import importlib
import os
import runpy
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ticketing.chassis import clock

LOOK_SECONDS = 0.5
# Pauses that take minutes in production, so that a run need not wait for them when the last fault has ended. They say when
# work is repeated, never whether it is done.
FASTER: dict[str, dict[str, object]] = {
    "ticket_service": {
        "ticket_service.domain.payments.POLL_INTERVAL": timedelta(seconds=1),
        "ticket_service.domain.payments.MAX_POLL_INTERVAL": timedelta(seconds=3),
        "ticket_service.domain.refund_orders.RETRY_INTERVAL": timedelta(seconds=3),
        # At least the time in which a try under way ends, so that no two processes try at once.
        "ticket_service.use_cases.refunds.MIN_RETRY_SECONDS": 10.0,
        "ticket_service.use_cases.refunds.MAX_RETRY_SECONDS": 12.0,
        "ticket_service.use_cases.cancellations.MAX_RETRY_SECONDS": 6.0,
        "ticket_service.use_cases.reconciler.CLAIM": timedelta(seconds=10),
        "ticket_service.use_cases.reconciler.FIRST_RETRY_SECONDS": 0.5,
        "ticket_service.use_cases.reconciler.MAX_RETRY_SECONDS": 3.0,
        "ticketing.chassis.tasks.MAX_BACKOFF_SECONDS": 2.0,
    },
    "scan_service": {"ticketing.chassis.tasks.MAX_BACKOFF_SECONDS": 2.0},
}


def owner_of(name: str) -> object:
    """Return the module that has a pause; None: the code is that of an older commit, without the pause."""
    part, _, attribute = name.rpartition(".")
    with suppress(ImportError):
        module = importlib.import_module(part)
        return module if hasattr(module, attribute) else None
    return None


def end_with(parent: int) -> None:
    """End this process once its parent has ended, also by a kill: no service outlives the run that started it."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


class JumpingClock:
    """A wall clock whose difference to the real time stands in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = 0
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        changed = self._path.stat().st_mtime_ns
        if changed != self._changed:
            self._changed, self._ahead = changed, timedelta(seconds=float(self._path.read_text() or 0))
        return datetime.now(UTC) + self._ahead


if __name__ == "__main__":
    _, module, clock_file, *guards = sys.argv
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    # The service reads this when gRPC is imported, which its own first lines would do too late here.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Replaced before the service imports it.
    clock.system_clock = JumpingClock(Path(clock_file))
    for name, value in FASTER[module].items():
        owner = owner_of(name)
        if owner is not None:
            setattr(owner, name.rpartition(".")[2], value)
    if guards:
        from tests.faults.guards import GUARDS

        for guard in guards:
            GUARDS[guard].remove()
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
