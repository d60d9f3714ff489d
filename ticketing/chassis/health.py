"""The liveness and readiness of a process.

A process that is not alive should be restarted: its event loop no longer turns. A process that is not ready should get no
new calls: it starts or drains, or one of its essential tasks has had no success for too long.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import Final

from ticketing.chassis.connections import OUTAGES
from ticketing.chassis.tasks import Tasks

# The name of the health service that reports readiness; the empty name reports that the process answers.
READINESS: Final = "ticketing.readiness"
BEAT_SECONDS: Final = 0.5
# The event loop counts as hanging after this time. Work in the loop takes milliseconds; a stopped virtual machine
# returns with a late beat, which must not restart it.
MAX_BEAT_SECONDS: Final = 15.0
# A full disk is reported for so long after a change that failed. A process with few changes meets it rarely.
FULL_DISK_SECONDS: Final = 60.0


class Stage(Enum):
    """The stage of a process's life."""

    STARTING = "STARTING"
    SERVING = "SERVING"
    DRAINING = "DRAINING"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of one process at one moment; the texts name tasks and contain no addresses."""

    is_alive: bool
    # The causes for which the process is not ready, by name.
    not_ready: Mapping[str, str]
    # The failures without an effect on readiness, by name: those of tasks, and of the disk of the database.
    warnings: Mapping[str, str]

    @property
    def is_ready(self) -> bool:
        """Return whether the process should get new calls."""
        return not self.not_ready


class Health:
    """The health of this process; any thread may ask for a report."""

    def __init__(self, tasks: Tasks) -> None:
        # The essential ones decide about readiness.
        self.tasks = tasks
        self._stage = Stage.STARTING
        # None: the event loop does not beat yet.
        self._beat_time: float | None = None

    def begin(self) -> None:
        """Become ready, as far as the tasks are; from now on the event loop beats."""
        self._stage = Stage.SERVING
        if self._beat_time is None:
            self._beat(asyncio.get_running_loop())

    def drain(self) -> None:
        """Become not ready for good."""
        self._stage = Stage.DRAINING

    def report(self) -> HealthReport:
        """Return the health at this moment."""
        late = 0.0 if self._beat_time is None else monotonic() - self._beat_time
        not_ready, warnings = {}, {}
        if self._stage is not Stage.SERVING:
            not_ready["stage"] = self._stage.value.lower()
        if late > MAX_BEAT_SECONDS:
            not_ready["event_loop"] = f"hangs for {late:.0f} s"
        for task in self.tasks.running():
            record = task.record
            if record.is_overdue:
                not_ready[record.name] = f"no success for {record.silent_seconds():.0f} s"
            elif record.failures:
                warnings[record.name] = f"{record.failures} failures since the last success"
        if (seconds := OUTAGES.seconds_since_full_disk()) < FULL_DISK_SECONDS:
            # Reads go on, and the probe of the database succeeds.
            warnings["database_disk"] = f"was full {seconds:.0f} s ago"
        return HealthReport(late <= MAX_BEAT_SECONDS, not_ready, warnings)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat_time = monotonic()
        loop.call_later(BEAT_SECONDS, self._beat, loop)
