"""The keeper: the process that runs the server while any lease exists (`python -m …postgres.keeper ROOT`).

It has one thread and a session of its own, so Ctrl-C in a terminal does not reach it. It writes an error to its standard
output, for the process that started it.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from ticketing.chassis.postgres import locks, server
from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.launcher import Launcher, choose_launcher, find_programs
from ticketing.chassis.postgres.layout import NO_SYNC, Layout

_POLL_SECONDS = 0.1
# A process that checks for a keeper has the lock shared for less time.
_OLD_KEEPER_SECONDS = 0.2
_LOG_BYTES = 4 * 1024 * 1024
_PORT_ATTEMPTS = 10
# Linux gives higher ports to outgoing connections: a client that retries such a port while the server is down can connect
# to itself, and then the server cannot listen on its port again.
_PORTS = range(15_000, 32_000)


def main(arguments: list[str]) -> int:
    """Run the server in the directory `arguments[0]`, unless another keeper does; return the exit status."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    layout = Layout(Path(arguments[0]))
    try:
        lock = locks.take(layout.server_lock, locks.EXCLUSIVE, _OLD_KEEPER_SECONDS)
        if lock is not None:
            launcher = choose_launcher(find_programs(), layout, lock)
            launcher.open_way(layout.root)
            server.create_cluster(layout, launcher, sync=NO_SYNC not in arguments)
            with layout.log.open("ab") as log:
                keep(layout, launcher, log)
    except (EmbeddedPostgresError, OSError, subprocess.SubprocessError) as error:
        with contextlib.suppress(BrokenPipeError):
            os.write(sys.stdout.fileno(), str(error).encode())
        return 1
    return 0


def keep(layout: Layout, launcher: Launcher, log: IO[bytes]) -> None:
    """Run the server until no lease is left, on the port of the last server if that is free.

    Raises:
        EmbeddedPostgresError: the server ended with an error.
    """
    port = layout.read_port() or secrets.choice(_PORTS)
    for _ in range(_PORT_ATTEMPTS):
        log_size = os.fstat(log.fileno()).st_size
        process = server.start(port, layout, launcher, log)
        try:
            layout.record_port(port)
            if _no_lease_left(layout, process, log):
                # After a kill the file stays, so that the next server gets the same port.
                layout.port_file.unlink(missing_ok=True)
                return
        finally:
            server.stop(process)
        if process.returncode < 0:
            # The server was killed: the processes with leases start another keeper.
            return
        output = layout.log.read_bytes()[log_size:].decode(errors="replace").strip()[-2000:]
        if "Address already in use" not in output:
            raise EmbeddedPostgresError(f"PostgreSQL did not start or failed in {layout.root}:\n{output}")
        port = secrets.choice(_PORTS)
    raise EmbeddedPostgresError(f"found no free port on 127.0.0.1 in {_PORT_ATTEMPTS} attempts; see {layout.log}")


def _no_lease_left(layout: Layout, process: subprocess.Popen[bytes], log: IO[bytes]) -> bool:
    """Wait for the end of the last lease; return False if the server ended first.

    The exclusive lock stays: a new lease waits for it until this process has stopped the server and ended.
    """
    lease = os.open(layout.lease_lock, os.O_RDWR | os.O_CREAT, 0o600)
    while process.poll() is None:
        if locks.change(lease, locks.EXCLUSIVE):
            return True
        _limit(layout.log, log)
        time.sleep(_POLL_SECONDS)
    os.close(lease)
    return False


def _limit(path: Path, log: IO[bytes]) -> None:
    """Keep the log and one older part of it small. The log is open for appending, so writers continue at its new end."""
    if os.fstat(log.fileno()).st_size > _LOG_BYTES:
        # On a full disk the older part is lost, and the server continues.
        with contextlib.suppress(OSError):
            shutil.copyfile(path, path.with_suffix(".old"))
        os.ftruncate(log.fileno(), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
