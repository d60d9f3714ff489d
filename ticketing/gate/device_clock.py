"""The time by the service's clock, as well as a device knows it.

The wall clock of a device may be wrong, and people and programs set it at any moment. So the device measures time since
the start of the machine, which nobody sets, and learns from the service which time that is. It keeps this in its file,
so another run of the program knows the time as well, until the machine starts again.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.ids import new_id

# The note of an admission whose dates were not checked, and the problem on the display.
CLOCK_UNKNOWN: Final = "clock unknown: the dates of tickets are not checked"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of the machine."""

    # The ids of two starts differ.
    boot_id: str
    # The time since the start, sleep included.
    elapsed: Callable[[], timedelta]


def this_boot() -> Boot:
    """Return the present start of the machine; without Linux, each run of the program counts as a start."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        with suppress(OSError):
            boot_id = _BOOT_ID.read_text().strip()
            return Boot(boot_id, lambda: timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME)))
    return Boot(str(new_id()), lambda: timedelta(seconds=time.monotonic()))


class DeviceClock:
    """The clock of the device; several threads use it.

    `stored` is what `state` returned in an earlier run. Until the service sends its time, a device that has started
    again takes its wall clock, corrected as in the run before, but never a time before the last one that it knew.
    """

    def __init__(self, stored: str | None, wall_clock: Clock = system_clock, boot: Boot | None = None) -> None:
        self._wall_clock = wall_clock
        self._boot = boot or this_boot()
        self._lock = threading.Lock()
        state = _State(**json.loads(stored or "{}"))
        # The last time that the device knew; the present time is not earlier.
        self._last_known = _EPOCH + state.known * _MICROSECOND
        # The service's time at the start of the machine, and whether the service or an earlier run stated it.
        self.is_known = state.boot_id == self._boot.boot_id
        if self.is_known:
            self._start = _EPOCH + state.start * _MICROSECOND
        else:
            estimate = wall_clock() + state.offset * _MICROSECOND
            self._start = max(estimate, self._last_known) - self._boot.elapsed()

    def __call__(self) -> datetime:
        """Return the present time."""
        return self._start + self._boot.elapsed()

    @property
    def earliest(self) -> datetime | None:
        """Return a time that has certainly passed while the device does not know the time, and None while it does."""
        return None if self.is_known else self._last_known

    @property
    def boot_id(self) -> str:
        """Return the id of the present start of the machine."""
        return self._boot.boot_id

    @property
    def start(self) -> datetime:
        """Return the time of the start of the machine, as well as the device knows it."""
        return self._start

    def set(self, server_time: datetime, uncertainty: timedelta | None) -> None:
        """Learn the service's time, which was read at most `uncertainty` ago; None: at an unknown time before."""
        with self._lock:
            lower = server_time - self._boot.elapsed()
            upper = None if uncertainty is None else lower + uncertainty
            if not self.is_known:
                self._start = lower if uncertainty is None else lower + uncertainty / 2
            else:
                # The earlier estimate stays, unless it contradicts the present time of the service.
                self._start = max(self._start, lower) if upper is None else min(max(self._start, lower), upper)
            self.is_known = True

    def state(self) -> str:
        """Return what the next run needs to know."""
        now = self()
        return json.dumps(
            {
                "boot_id": self._boot.boot_id if self.is_known else "",
                "start": (self._start - _EPOCH) // _MICROSECOND,
                "known": ((now if self.is_known else self._last_known) - _EPOCH) // _MICROSECOND,
                "offset": (now - self._wall_clock()) // _MICROSECOND if self.is_known else 0,
            }
        )


@dataclass(frozen=True, slots=True)
class _State:
    # Empty where the device did not know the time; the other fields are microseconds.
    boot_id: str = ""
    start: int = 0
    known: int = 0
    offset: int = 0
