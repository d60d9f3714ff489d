"""Start and stop the PostgreSQL server of a cluster."""

import signal
import subprocess
from typing import IO

from ticketing.chassis.postgres.launcher import Launcher
from ticketing.chassis.postgres.layout import Layout

_STOP_SECONDS = 20

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


def start(port: int, layout: Layout, launcher: Launcher, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server on `port`; its output is appended to `log`."""
    # The server lock of the caller proves that no server uses these files. PostgreSQL itself would trust the process id in
    # this file, which may now belong to another program.
    (layout.data / "postmaster.pid").unlink(missing_ok=True)
    options = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)}).items()]
    return launcher.start(
        [launcher.programs / "postgres", "-D", layout.data, *options],
        folder=layout.cluster,
        output=log,
        # Immediate shutdown: a server without its keeper has no time for a checkpoint.
        death_signal=signal.SIGQUIT,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server: fast, then without a checkpoint, then by force."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(None if number == signal.SIGKILL else _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
