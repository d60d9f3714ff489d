"""A service as a process, for tests that kill it or run several on one database."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.environment import ROOT
from ticketing.chassis.grpc_variables import VARIABLES

START_SECONDS = 60
STOP_SECONDS = 15


class ServiceProcess:
    """A process of a service, which logs its port; `root` is the checkout of its program."""

    def __init__(self, module: str, variables: Mapping[str, str], *arguments: str, root: Path = ROOT) -> None:
        # A service sets the variables of gRPC itself.
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=root,
            env={**inherited, "PYTHONPATH": f"{root}{os.pathsep}{root / 'protos'}", **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log: list[str] = []
        self._port: int | None = None
        self.metrics_port = 0
        self._served = threading.Event()
        # The output is read to the end: a full pipe would block the service.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._served.wait(START_SECONDS) or self._port is None:
            self.end(signal.SIGKILL)
            pytest.fail(f"{module} does not serve:\n{self.log()}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def log(self) -> str:
        return "".join(self._log)

    def send(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the process by a signal; return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        status = self._process.wait(STOP_SECONDS)
        self._reader.join()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._log.append(line)
                if line.startswith("{") and (entry := json.loads(line))["message"] == "serving":
                    self._port, self.metrics_port = entry.get("port", 0), entry["metrics_port"]
                    self._served.set()
        self._served.set()
