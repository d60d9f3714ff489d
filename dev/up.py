"""Both services and the relay in the foreground, with the embedded PostgreSQL by default: `python -m dev.up`.

The program prints one line with the addresses of the services once both are healthy. Ctrl-C, SIGTERM and the end of one
of the processes stop everything that the program started. Each line of a log begins with the name of its process.
"""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.keys import development_keys
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly
from ticketing.chassis.probe import is_ready
from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import Tls
from ticketing.chassis.tls_settings import read_tls

START_SECONDS = 60.0
STOP_SECONDS = 20.0
# With this value of TICKETS_RELAY, the ticket service contains the relay.
BUILT_IN = "built-in"
NAME_WIDTH = len("ticket service")


@dataclass(frozen=True, slots=True)
class Service:
    """A service, or the relay, as a child process."""

    name: str
    # None: the relay listens on no port.
    address: str | None
    process: subprocess.Popen[bytes]
    # Prefixes the lines of the log until the process has ended.
    printer: threading.Thread


class StoppedError(Exception):
    """Raised when a process ended by itself or did not become healthy."""


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


@contextlib.contextmanager
def only_program(variables: Mapping[str, str]) -> Iterator[None]:
    """Hold these ports and this data directory; two programs that start together would stop each other.

    Raises:
        StoppedError: another program holds them.
    """
    directory = Path(variables.get("TICKETING_DATA_DIR") or ".data")
    # The system releases the lock with the program, so the file may stay.
    with (directory / f"up-{variables['TICKETS_PORT']}-{variables['SCANS_PORT']}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoppedError(f"another `make up` runs with these ports and {directory}") from error
        yield


def check_ports(variables: Mapping[str, str]) -> None:
    """Check that no other program has the ports: its answers would look like those of the services.

    Raises:
        StoppedError: a port is in use.
    """
    for name in ("TICKETS_PORT", "SCANS_PORT"):
        host, port = variables.get("TICKETING_HOST", "127.0.0.1"), variables[name]
        try:
            with socket.socket() as probe:
                # Connections in TIME_WAIT do not make the port busy.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, int(port)))
        except (OSError, ValueError) as error:
            # The service itself names every other fault of an address or a port.
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise StoppedError(f"another program has port {port}; end it, or set {name}") from error


def start(name: str, address: str | None, variables: Mapping[str, str], *arguments: str) -> Service:
    """Start one process: `arguments` are its module and its command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.child", *arguments],
        env=dict(variables),
        # Each process has a session of its own: Ctrl-C reaches this program only, which then drains them.
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None  # noqa: S101 - for mypy: the pipe was requested
    printer = threading.Thread(target=print_log, args=(name, process.stderr), daemon=True)
    printer.start()
    return Service(name, address, process, printer)


def print_log(name: str, log: IO[bytes]) -> None:
    """Copy the log of a process to standard error; each line begins with the name of the process."""
    prefix = f"{name:<{NAME_WIDTH}} | ".encode()
    for line in map(readable, log):
        # The process would block on a full pipe, so this thread reads on after the terminal has closed.
        with contextlib.suppress(OSError):
            # One write for each line, so that the lines of several processes do not mix.
            os.write(sys.stderr.fileno(), prefix + line)


def readable(line: bytes) -> bytes:
    """Return the message of a line about a failed start, with one fault in each line; return other lines as they are."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict) or fields.get("level") != "CRITICAL" or "exception" in fields:
        return line
    text = f"{fields.get('service')}: {fields.get('message')}"
    return "\n  ".join([text, *fields.get("faults", [])]).encode() + b"\n"


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
        while service.address is not None and not is_ready(service.address, seconds=0.5, tls=tls):
            if signals.stop_requested(0):
                return False
            check_running(services)
            if time.monotonic() > deadline:
                raise StoppedError(f"{service.name} did not become healthy within {START_SECONDS:.0f} seconds")
    return True


def check_running(services: list[Service]) -> None:
    """Raise StoppedError if a process has ended."""
    for service in services:
        if (status := service.process.poll()) is not None:
            service.printer.join(STOP_SECONDS)
            raise StoppedError(f"the {service.name} ended with exit status {status}; see its log above")


def run(services: list[Service], signals: Signals, tls: Tls) -> None:
    """Serve until a stop is requested.

    Raises:
        StoppedError: a process ended, so the others end too.
    """
    if not wait_until_healthy(services, signals, tls):
        return
    addresses = [f"{service.name} {service.address}" for service in services if service.address is not None]
    print(f"{'  '.join(addresses)}  (Ctrl-C stops everything)", flush=True)
    while not signals.stop_requested(None):
        check_running(services)


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
    for service in services:
        service.printer.join(STOP_SECONDS)


def main() -> int:
    """Run both services and the relay; return 0 after a requested stop, 1 after a failure."""
    Parser(prog="python -m dev.up", description="Run both services and the relay until Ctrl-C.").parse_args()
    signals = Signals()
    variables = environment(os.environ)
    try:
        with only_program(variables):
            check_ports(variables)
            start_and_run(variables, signals)
    except StoppedError as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    return 0


def start_and_run(variables: Mapping[str, str], signals: Signals) -> None:
    """Start both services and the relay, run them, and stop them.

    Raises:
        StoppedError: a process ended, so the others ended too.
    """
    services = [
        start("ticket service", f"127.0.0.1:{variables['TICKETS_PORT']}", variables, "ticket_service"),
        start("scan service", f"127.0.0.1:{variables['SCANS_PORT']}", variables, "scan_service"),
    ]
    if variables.get("TICKETS_RELAY") != BUILT_IN:
        services.append(start("relay", None, variables, "ticket_service", "relay"))
    try:
        run(services, signals, read_tls(Environment(variables)))
    finally:
        stop(services, signals)


if __name__ == "__main__":
    sys.exit(quietly(main))
