"""Makes the database files: initdb into a folder aside, which is then renamed into place in one step."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError, with_advice
from ticketing.chassis.postgres.launcher import Launcher
from ticketing.chassis.postgres.layout import USER, Layout

_INITDB_SECONDS = 120


def ensure(layout: Layout, launcher: Launcher, *, sync: bool) -> None:
    """Make the cluster if there is none; without `sync` it is not forced to disk."""
    if layout.cluster.exists():
        return
    shutil.rmtree(layout.staging, ignore_errors=True)
    layout.staging.mkdir(mode=0o700)
    launcher.own(layout.staging)
    password_file = layout.staging / "password"
    password_file.touch(mode=0o600)
    with password_file.open("w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    launcher.own(password_file)
    _initdb(layout, launcher, sync=sync)
    layout.staging.rename(layout.cluster)
    folder = os.open(layout.root, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _initdb(layout: Layout, launcher: Launcher, *, sync: bool) -> None:
    command: list[str | Path] = [
        launcher.binaries.initdb,
        f"--pgdata={layout.staging / 'data'}",
        f"--username={USER}",
        f"--pwfile={layout.staging / 'password'}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # PostgreSQL's own collation: the same order on every machine, whatever locales that has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        *([] if sync else ["--no-sync"]),
    ]
    process = launcher.start(
        command,
        folder=layout.staging,
        output=subprocess.PIPE,
        # initdb only takes note of gentler signals and goes on.
        end_with_us=signal.SIGKILL,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=_INITDB_SECONDS)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        text = output.decode(errors="replace").strip()[-2000:]
        raise EmbeddedPostgresError(with_advice(f"initdb failed in {layout.root}:\n{text}"))
