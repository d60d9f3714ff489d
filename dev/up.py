"""Both services in the foreground, with the embedded PostgreSQL unless told of another: `python -m dev.up`.

Prints one line with both addresses once both are healthy. Ctrl-C or SIGTERM stops everything that was started; so does
the end of one of the two.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dev.keys import development_keys
from ticketing.chassis.probe import is_serving
from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import Tls, read_tls

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Service:
    """One service as a child process."""

    name: str
    address: str
    process: subprocess.Popen[bytes]


class StoppedError(Exception):
    """A service ended by itself, or did not become healthy."""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Complete the environment for both services; what is set already stands."""
    keys = development_keys(Path(variables.get("TICKETING_DATA_DIR") or ".data"))
    defaults = {
        "TICKETING_JWKS_FILE": str(keys.jwks_file),
        "TICKETING_PEER_SECRET": keys.peer_secret,
        "TICKETING_CODE_SECRET": keys.code_secret,
        "TICKETS_PORT": "50051",
        "SCANS_PORT": "50052",
    }
    complete = {**defaults, **{name: value for name, value in variables.items() if value}}
    complete.setdefault("TICKETS_SCANS_ADDRESS", f"127.0.0.1:{complete['SCANS_PORT']}")
    complete.setdefault("SCANS_TICKETS_ADDRESS", f"127.0.0.1:{complete['TICKETS_PORT']}")
    return complete


def start(module: str, address: str, variables: Mapping[str, str]) -> Service:
    """Start one service."""
    # A session of its own: Ctrl-C reaches this program alone, which then lets each service drain.
    process = subprocess.Popen([sys.executable, "-m", "dev.child", module], env=dict(variables), start_new_session=True)
    return Service(module, address, process)


class Signals:
    """Waits for signals without losing one: a handler alone would, between a look at its flag and a blocking call."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)
        signal.set_wakeup_fd(self._writer.fileno())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, _note)

    def asked_to_stop(self, seconds: float | None) -> bool:
        """Wait for a signal, `None` for ever; tell whether it asks us to stop, and not of a child's end."""
        if not select.select([self._reader], [], [], seconds)[0]:
            return False
        numbers = set(self._reader.recv(4096))
        return not numbers.isdisjoint({signal.SIGINT, signal.SIGTERM})


def _note(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by letting its number be written to the wake-up socket."""


def wait_until_healthy(services: list[Service], signals: Signals, tls: Tls) -> bool:
    """Wait until every service answers that it serves; False where we are asked to stop before.

    Raises:
        StoppedError: one of them ended, or took longer than START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    for service in services:
        while not is_serving(service.address, seconds=0.5, tls=tls):
            if signals.asked_to_stop(0):
                return False
            if service.process.poll() is not None:
                raise StoppedError(f"{service.name} ended with exit status {service.process.returncode}")
            if time.monotonic() > deadline:
                raise StoppedError(f"{service.name} did not become healthy within {START_SECONDS:.0f} seconds")
    return True


def run(services: list[Service], signals: Signals, tls: Tls) -> None:
    """Serve until asked to stop.

    Raises:
        StoppedError: one of the services ended; the other is of no use alone.
    """
    if not wait_until_healthy(services, signals, tls):
        return
    tickets, scans = services
    print(f"ticket service {tickets.address}  scan service {scans.address}  (Ctrl-C stops both)", flush=True)
    while not signals.asked_to_stop(None):
        for service in services:
            if service.process.poll() is not None:
                raise StoppedError(f"{service.name} has ended; its log above says why")


def stop(services: list[Service], signals: Signals) -> None:
    """Let every service drain; kill what does not end in time, or when asked a second time."""
    for service in services:
        service.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while any(service.process.poll() is None for service in services):
        if signals.asked_to_stop(max(0.0, deadline - time.monotonic())) or time.monotonic() >= deadline:
            for service in services:
                service.process.kill()
                service.process.wait()


def main() -> int:
    """Run both services; return 0 where we were asked to stop."""
    signals = Signals()
    variables = environment(os.environ)
    services = [
        start(module, f"127.0.0.1:{variables[port]}", variables)
        for module, port in (("ticket_service", "TICKETS_PORT"), ("scan_service", "SCANS_PORT"))
    ]
    try:
        run(services, signals, read_tls(Environment(variables)))
    except StoppedError as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    finally:
        stop(services, signals)
    return 0


if __name__ == "__main__":
    sys.exit(main())
