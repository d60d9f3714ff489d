"""Creates the database files, and starts and stops the PostgreSQL server that uses them."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.launcher import Launcher
from ticketing.chassis.postgres.layout import USER, Layout

_INITDB_SECONDS = 120
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


def create_cluster(layout: Layout, launcher: Launcher, *, sync: bool) -> None:
    """Create the database files, if there are none, in a staging folder that is then renamed in one step.

    Without `sync` they are not forced to disk.
    """
    if layout.cluster.exists():
        return
    shutil.rmtree(layout.staging, ignore_errors=True)
    layout.staging.mkdir(mode=0o700)
    launcher.own(layout.staging)
    password_file = layout.staging / layout.password_file.name
    password_file.touch(mode=0o600)
    with password_file.open("w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    launcher.own(password_file)
    _initdb(layout, launcher, password_file, sync=sync)
    layout.staging.rename(layout.cluster)
    folder = os.open(layout.root, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _initdb(layout: Layout, launcher: Launcher, password_file: Path, *, sync: bool) -> None:
    command: list[str | Path] = [
        launcher.programs / "initdb",
        f"--pgdata={layout.staging / layout.data.name}",
        f"--username={USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # PostgreSQL's own collation: the order is the same on every machine, whatever locales it has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        *([] if sync else ["--no-sync"]),
    ]
    # No other signal ends initdb at once.
    process = launcher.start(command, folder=layout.staging, output=subprocess.PIPE, death_signal=signal.SIGKILL)
    with process:
        try:
            output, _ = process.communicate(timeout=_INITDB_SECONDS)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        text = output.decode(errors="replace").strip()[-2000:]
        raise EmbeddedPostgresError(f"initdb failed in {layout.root}:\n{text}")


def start(port: int, layout: Layout, launcher: Launcher, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server on `port`; its output is appended to `log`."""
    # The server lock of the caller proves that no server uses these files. PostgreSQL itself would trust the process id in
    # this file, which another program may have now.
    (layout.data / "postmaster.pid").unlink(missing_ok=True)
    options = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)}).items()]
    return launcher.start(
        [launcher.programs / "postgres", "-D", layout.data, *options],
        folder=layout.cluster,
        output=log,
        # The signal requests an immediate shutdown: a server without its keeper has no time for a checkpoint.
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
