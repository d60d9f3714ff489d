"""The link between a supervisor and a worker: a socket pair.

The worker reports once that it serves. The end of the supervisor closes the link, however it ended, and stops the worker:
a worker without a supervisor would keep the port, and nothing would restart it.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Self

# The environment variable with the file descriptor of the link; a supervisor sets it for its workers alone.
LINK_VARIABLE: Final = "TICKETING_WORKER_LINK"
# The supervisor alone reads the endpoints of a worker.
LOOPBACK: Final = "127.0.0.1"


def has_supervisor() -> bool:
    """Return whether this process is a worker. No operator sets the variable, so it is no setting."""
    return LINK_VARIABLE in os.environ


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The report of a worker that serves."""

    # The port of its metrics on the loopback interface.
    metrics_port: int

    def encode(self) -> bytes:
        """Encode the report as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Decode a line of `encode`."""
        return cls(**json.loads(line))


class SupervisorLink:
    """A worker's end of the link."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # Processes that the worker starts must not keep the link open.
        self._socket.set_inheritable(False)

    @classmethod
    def of_environment(cls, variables: Mapping[str, str]) -> Self | None:
        """Return the link that the environment names; None in a process without a supervisor."""
        descriptor = variables.get(LINK_VARIABLE)
        return None if descriptor is None else cls(int(descriptor))

    def report_serving(self, report: WorkerReport) -> None:
        """Report that the worker serves."""
        self._socket.sendall(report.encode())

    def stop_with_supervisor(self) -> None:
        """Request the stop of this process, as SIGTERM does, once the supervisor has ended."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._socket)
            os.kill(os.getpid(), signal.SIGTERM)

        # The supervisor sends nothing, so the socket becomes readable only by its end.
        loop.add_reader(self._socket, ended)
