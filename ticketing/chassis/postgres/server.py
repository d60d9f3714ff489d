"""Starts and stops the PostgreSQL server of a cluster."""

import os
import secrets
import signal
import subprocess
import time
from typing import IO

from ticketing.chassis.postgres.errors import EmbeddedPostgresError, with_advice
from ticketing.chassis.postgres.launcher import Launcher
from ticketing.chassis.postgres.layout import Layout

_START_SECONDS = 120  # A server that was killed first replays up to max_wal_size of its log.
_STOP_SECONDS = 20
_POLL_SECONDS = 0.01
_PORT_ATTEMPTS = 10
# Below the ports that Linux gives to outgoing connections: a client that keeps trying to reach a stopped server on such
# a port can end up connected to itself, and then the server cannot have its port back.
_PORTS = range(15_000, 32_000)
_STATUS_LINE = 7  # of postmaster.pid, counted from 0; pg_ctl looks there too

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "random_page_cost": "1.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


def start(layout: Layout, launcher: Launcher, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server on the port of the last one if that is free, wait until it is ready and record the port."""
    # The held server lock proves that nobody runs on these files. PostgreSQL itself would go by the process id in
    # there, which may be another program's by now.
    (layout.data / "postmaster.pid").unlink(missing_ok=True)
    port = layout.read_port() or secrets.choice(_PORTS)
    for _ in range(_PORT_ATTEMPTS):
        process = _start_on(port, layout, launcher, log)
        if process is not None:
            return process
        port = secrets.choice(_PORTS)
    raise EmbeddedPostgresError(f"found no free port on 127.0.0.1 in {_PORT_ATTEMPTS} attempts; see {layout.log}")


def _start_on(port: int, layout: Layout, launcher: Launcher, log: IO[bytes]) -> subprocess.Popen[bytes] | None:
    """Return the server when it is ready and its port recorded, None if somebody else has the port."""
    options = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)}).items()]
    beginning = os.fstat(log.fileno()).st_size
    process = launcher.start(
        [launcher.binaries.postgres, "-D", layout.data, *options],
        folder=layout.cluster,
        output=log,
        # Immediate shutdown: a server without its keeper has no time for a checkpoint.
        end_with_us=signal.SIGQUIT,
    )
    try:
        if _is_ready(process, layout):
            layout.record_port(port)
            return process
    except BaseException:
        stop(process)
        raise
    said = layout.log.read_bytes()[beginning:].decode(errors="replace").strip()[-2000:]
    if "Address already in use" in said:
        return None
    raise EmbeddedPostgresError(with_advice(f"PostgreSQL did not start in {layout.root}:\n{said}"))


def _is_ready(process: subprocess.Popen[bytes], layout: Layout) -> bool:
    """Wait until the server takes connections; False if it ended instead."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        try:
            lines = (layout.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        if lines[_STATUS_LINE:] and lines[_STATUS_LINE].strip() == "ready":
            return True
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"PostgreSQL was not ready after {_START_SECONDS} s; see {layout.log}, then start again."
            )
        time.sleep(_POLL_SECONDS)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server: fast, then without a checkpoint, then by force."""
    for signal_number in (signal.SIGINT, signal.SIGQUIT):
        process.send_signal(signal_number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()
