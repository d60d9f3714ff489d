"""A thread of the device that no error ends: it attempts its work again after a wait with backoff and jitter."""

import sqlite3
import threading
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Final

from ticketing.chassis.backoff import backoff_seconds

FIRST_BACKOFF_SECONDS: Final = 0.5
# The longest wait after a failure, after a refusal, and after an attempt that had lasted.
MAX_BACKOFF_SECONDS: Final = 4.0
REFUSED_BACKOFF_SECONDS: Final = 60.0
LASTED_BACKOFF_SECONDS: Final = 0.05
PROBLEM_SECONDS: Final = 60.0
# A disk may hang for longer; the end of the program does not wait for it.
STOP_SECONDS: Final = 5.0
# The interval at which a waiting thread looks for a reason to go on at once.
_LOOK_SECONDS: Final = 1.0


class Outcome(Enum):
    """The result of one attempt, which determines the wait before the next one."""

    # The work went well for a while, so the next attempt follows at once.
    LASTED = "LASTED"
    FAILED = "FAILED"
    # Another attempt fails as well, unless a person changes something.
    REFUSED = "REFUSED"


class RetryingThread:
    """A thread that makes attempts until `stop`; `go_on` ends a wait early."""

    def __init__(self, name: str, attempt: Callable[[], Outcome], go_on: Callable[[], bool] = lambda: False) -> None:
        self._attempt = attempt
        self._go_on = go_on
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._problem = ""
        self._problem_time = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Make no further attempt, and wait up to STOP_SECONDS for the end of the present one."""
        self.stop_soon()
        self._thread.join(STOP_SECONDS)

    def stop_soon(self) -> None:
        """Make no further attempt after the present one."""
        self._stopped.set()

    @property
    def problem(self) -> str:
        """Return the error of this program that ended an attempt in the last minute, for people; empty without one."""
        return self._problem if monotonic() - self._problem_time < PROBLEM_SECONDS else ""

    def wait(self, seconds: float) -> bool:
        """Wait; return whether `stop` was called."""
        return self._stopped.wait(seconds)

    @property
    def is_stopped(self) -> bool:
        """Return whether `stop` was called."""
        return self._stopped.is_set()

    @property
    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                outcome = self._attempt()
            except sqlite3.Error:
                # The store reports the problems of the disk.
                outcome = Outcome.FAILED
            except Exception as error:  # noqa: BLE001 - a thread that ends would leave the device without its work
                outcome = Outcome.FAILED
                self._problem, self._problem_time = f"{self._thread.name}: {type(error).__name__}: {error}", monotonic()
            failures = 0 if outcome is Outcome.LASTED else failures + 1
            self._wait(outcome, failures)

    def _wait(self, outcome: Outcome, failures: int) -> None:
        max_seconds = {
            Outcome.LASTED: LASTED_BACKOFF_SECONDS,
            Outcome.FAILED: MAX_BACKOFF_SECONDS,
            Outcome.REFUSED: REFUSED_BACKOFF_SECONDS,
        }[outcome]
        seconds = backoff_seconds(failures, first=FIRST_BACKOFF_SECONDS, max_seconds=max_seconds)
        while seconds > 0 and not self._stopped.wait(min(seconds, _LOOK_SECONDS)) and not self._go_on():
            seconds -= _LOOK_SECONDS
