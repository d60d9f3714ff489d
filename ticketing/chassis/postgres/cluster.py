"""Create the database files: initdb runs in a staging folder, which is then renamed in one step."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.launcher import Launcher
from ticketing.chassis.postgres.layout import USER, Layout

_INITDB_SECONDS = 120


def ensure(layout: Layout, launcher: Launcher, *, sync: bool) -> None:
    """Create the cluster if there is none; without `sync` it is not forced to disk."""
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
    # Only SIGKILL ends initdb at once.
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
