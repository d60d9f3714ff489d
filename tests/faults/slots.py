"""The places of service processes, and a supervisor for each."""

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from tests.processes.service import ServiceProcess

RESTART_SECONDS: Final = 0.3


class Slot:
    """A place for one process of a service, and a supervisor that starts the process again whenever it has ended."""

    def __init__(  # noqa: PLR0913, PLR0917 - its surroundings
        self, name: str, module: str, variables: Mapping[str, str], clock_file: Path, guard: str, code: Path
    ) -> None:
        self.name = name
        self._code = code
        self._module = module
        self.variables = variables
        self._clock_file = clock_file
        self._guard = guard
        self._lock = threading.Lock()
        self._process: ServiceProcess | None = None
        self._ends = threading.Event()
        # The supervisor starts nothing before this time of `monotonic`.
        self._down_until = 0.0
        self.starts = 0
        self._log = ""
        self.set_clock(0)
        self._supervisor = threading.Thread(target=self._supervise, name=f"supervisor {name}", daemon=True)

    def start(self) -> None:
        """Start the supervisor."""
        self._supervisor.start()

    @property
    def is_up(self) -> bool:
        """Return whether the process serves."""
        process = self._process
        return process is not None and not process.has_ended()

    @property
    def metrics_port(self) -> int:
        """The HTTP port of the process; 0 while there is none."""
        process = self._process
        return 0 if process is None else process.metrics_port

    @property
    def log(self) -> str:
        """The lines of all processes so far."""
        process = self._process
        return self._log + (process.log() if process is not None else "")

    def send(self, number: int, down_seconds: float = 0.0) -> bool:
        """Send a signal to the process, which stays down for a time if it ends; return whether there was one."""
        with self._lock:
            process = self._process
            if process is None or process.has_ended():
                return False
            self._down_until = monotonic() + down_seconds
            process.send(number)
            return True

    def kill_children(self) -> int:
        """Kill the processes that the service has started, such as its drawing workers; return their number."""
        with self._lock:
            if self._process is None or self._process.has_ended():
                return 0
            children = children_of(self._process.pid)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return len(children)

    def set_clock(self, seconds: float) -> None:
        """Set the clock of the process ahead by some seconds."""
        self._clock_file.write_text(str(seconds))

    def close(self) -> None:
        """End the process for good."""
        self._ends.set()
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self._supervisor.join()

    def _supervise(self) -> None:
        arguments = (self._module, str(self._clock_file), *([self._guard] if self._guard else []))
        while not self._ends.is_set():
            if self._process is not None and not self._process.has_ended():
                self._ends.wait(0.05)
                continue
            if self._process is not None:
                self._process.end(signal.SIGKILL)
                self._log += self._process.log()
                self._process = None
            if self._ends.wait(max(RESTART_SECONDS, self._down_until - monotonic())):
                return
            # A service whose database or peer is out of reach ends, and the supervisor starts it again.
            with suppress(pytest.fail.Exception):
                process = ServiceProcess("tests.faults.program", self.variables, *arguments, root=self._code)
                self.starts += 1
                with self._lock:
                    self._process = process
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._log += self._process.log()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with suppress(FileNotFoundError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []
