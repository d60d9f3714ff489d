"""The keeper: the process that runs the server while any lease is held (`python -m ticketing.chassis.postgres.keeper ROOT`).

It has one thread and a session of its own, so Ctrl-C in a terminal does not reach it. Its standard output is a report
to the process that started it: `READY`, or what went wrong; the report ends when the server is ready.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

from ticketing.chassis.postgres import binaries, cluster, locks, server
from ticketing.chassis.postgres.errors import EmbeddedPostgresError, with_advice
from ticketing.chassis.postgres.keeper_start import NO_SYNC, READY
from ticketing.chassis.postgres.launcher import Launcher, choose_identity
from ticketing.chassis.postgres.layout import Layout

_POLL_SECONDS = 0.1
_OLD_KEEPER_SECONDS = 0.2  # Long enough not to lose against somebody who only looks whether there is a keeper.
_OLD_SERVER_SECONDS = 30
_LOG_BYTES = 4 * 1024 * 1024


def main(arguments: list[str]) -> int:
    """Keep the server in the directory `arguments[0]`; return the exit status."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _leave)
    layout = Layout(Path(arguments[0]))
    try:
        if locks.take(layout.keeper_lock, locks.Mode.EXCLUSIVE, _OLD_KEEPER_SECONDS) is None:
            _report(READY)  # Another keeper was faster.
        else:
            with layout.log.open("ab") as log:
                keep(layout, log, sync=NO_SYNC not in arguments)
    except (EmbeddedPostgresError, OSError, subprocess.SubprocessError) as error:
        _report(with_advice(str(error)))
        return 1
    return 0


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _report(text: str) -> None:
    """Write the report and close it; nobody may be there to read it any more."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), text.encode())
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def keep(layout: Layout, log: IO[bytes], *, sync: bool) -> None:
    """Run the server until nobody uses it any more; it appends to `log`."""
    lock = locks.take(layout.server_lock, locks.Mode.EXCLUSIVE, _OLD_SERVER_SECONDS)
    if lock is None:
        raise EmbeddedPostgresError(
            f"a PostgreSQL without a keeper still works in {layout.root}: stop it, then start again."
        )
    programs = binaries.find()
    launcher = Launcher(programs, choose_identity(programs, layout), lock)
    launcher.open_way(layout.root)
    cluster.ensure(layout, launcher, sync=sync)
    process = server.start(layout, launcher, log)
    try:
        _report(READY)
        if _nobody_left(layout, process, log):
            # A killed server's port stays on record, for its users to find the next one there.
            layout.port_file.unlink(missing_ok=True)
    finally:
        server.stop(process)


def _nobody_left(layout: Layout, process: subprocess.Popen[bytes], log: IO[bytes]) -> bool:
    """Wait for the last lease to end; False if the server ended first.

    The exclusive lock is kept: a new user waits for it until this process has stopped the server and ended.
    """
    lease = os.open(layout.lease_lock, os.O_RDWR | os.O_CREAT, 0o600)
    while process.poll() is None:
        if locks.change(lease, locks.Mode.EXCLUSIVE):
            return True
        _limit(layout.log, log)
        time.sleep(_POLL_SECONDS)
    return False


def _limit(path: Path, log: IO[bytes]) -> None:
    """Keep the log and one older part of it small. It is open for appending, so writers go on at the new end."""
    if os.fstat(log.fileno()).st_size > _LOG_BYTES:
        # On a full disk, rather lose the older part than the server.
        with contextlib.suppress(OSError):
            shutil.copyfile(path, path.with_suffix(".old"))
        os.ftruncate(log.fileno(), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
