"""Both services in the foreground, with the embedded PostgreSQL unless the settings name another: `python -m dev.up`.

The program prints one line with both addresses once both services are healthy. Ctrl-C, SIGTERM and the end of one of the
services stop everything that the program started.
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

from dev.keys import development_keys
from ticketing.chassis.probe import is_ready
from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import Tls
from ticketing.chassis.tls_settings import read_tls

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service as a child process."""

    name: str
    address: str
    process: subprocess.Popen[bytes]


class StoppedError(Exception):
    """Raised when a service ended by itself or did not become healthy."""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Complete the environment of both services; variables that are set stay."""
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
    # Each service has a session of its own: Ctrl-C reaches this program only, which then drains them.
    process = subprocess.Popen([sys.executable, "-m", "dev.child", module], env=dict(variables), start_new_session=True)
    return Service(module, address, process)


class Signals:
    """A wait for signals; a flag set by a handler could be set between its check and a blocking call."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)
        signal.set_wakeup_fd(self._writer.fileno())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            # Python writes the number of the signal to the wake-up socket, so the handler has nothing to do.
            signal.signal(number, lambda *_: None)

    def stop_requested(self, seconds: float | None) -> bool:
        """Wait up to `seconds` (None: forever) for a signal; return whether it is SIGINT or SIGTERM and not SIGCHLD."""
        if not select.select([self._reader], [], [], seconds)[0]:
            return False
        numbers = set(self._reader.recv(4096))
        return not numbers.isdisjoint({signal.SIGINT, signal.SIGTERM})


def wait_until_healthy(services: list[Service], signals: Signals, tls: Tls) -> bool:
    """Wait until every service is healthy; return False if a stop is requested before.

    Raises:
        StoppedError: a service ended, or took longer than START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    for service in services:
        while not is_ready(service.address, seconds=0.5, tls=tls):
            if signals.stop_requested(0):
                return False
            if service.process.poll() is not None:
                raise StoppedError(f"{service.name} ended with exit status {service.process.returncode}")
            if time.monotonic() > deadline:
                raise StoppedError(f"{service.name} did not become healthy within {START_SECONDS:.0f} seconds")
    return True


def run(services: list[Service], signals: Signals, tls: Tls) -> None:
    """Serve until a stop is requested.

    Raises:
        StoppedError: a service ended, so the other one ends too.
    """
    if not wait_until_healthy(services, signals, tls):
        return
    tickets, scans = services
    print(f"ticket service {tickets.address}  scan service {scans.address}  (Ctrl-C stops both)", flush=True)
    while not signals.stop_requested(None):
        for service in services:
            if service.process.poll() is not None:
                raise StoppedError(f"{service.name} has ended; see its log above")


def stop(services: list[Service], signals: Signals) -> None:
    """Drain the services; kill them after STOP_SECONDS or at a second request to stop."""
    for service in services:
        service.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while any(service.process.poll() is None for service in services):
        if signals.stop_requested(max(0.0, deadline - time.monotonic())) or time.monotonic() >= deadline:
            for service in services:
                service.process.kill()
                service.process.wait()


def main() -> int:
    """Run both services; return 0 after a requested stop, 1 after a failure."""
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
