"""Both services in the foreground, with the embedded PostgreSQL unless told of another: `python -m dev.up`.

Prints one line with both addresses once both are healthy. Ctrl-C or SIGTERM stops everything that was started; so does
the end of one of the two.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chassis.probe import is_serving
from dev.keys import development_keys

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


def wait_until_healthy(services: list[Service]) -> None:
    """Wait until every service answers that it serves.

    Raises:
        StoppedError: one of them ended, or took longer than START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    for service in services:
        while not is_serving(service.address, seconds=0.5):
            if service.process.poll() is not None:
                raise StoppedError(f"{service.name} ended with exit status {service.process.returncode}")
            if time.monotonic() > deadline:
                raise StoppedError(f"{service.name} did not become healthy within {START_SECONDS:.0f} seconds")


def stop(services: list[Service]) -> None:
    """Let every service drain; kill what does not end in time."""
    for service in services:
        service.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for service in services:
        try:
            service.process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            service.process.kill()
            service.process.wait()


def main() -> int:
    """Run both services until told to stop, or until one of them ends."""
    variables = environment(os.environ)
    services: list[Service] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for module, port in (("ticket_service", "TICKETS_PORT"), ("scan_service", "SCANS_PORT")):
            services.append(start(module, f"127.0.0.1:{variables[port]}", variables))
        wait_until_healthy(services)
        tickets, scans = services
        print(f"ticket service {tickets.address}  scan service {scans.address}  (Ctrl-C stops both)", flush=True)
        # Any child's end wakes us; whichever it is, the other one is of no use alone.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        print("up: a service has ended; its log above says why", file=sys.stderr)
    except KeyboardInterrupt:
        return 0
    except StoppedError as error:
        print(f"up: {error}", file=sys.stderr)
    finally:
        stop(services)
    return 1


if __name__ == "__main__":
    sys.exit(main())
