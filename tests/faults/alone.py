"""One PostgreSQL server on a small disk, which the nemesis fills."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import psycopg2

from tests.environment.clusters import Cluster
from tests.environment.databases import execute
from tests.faults.database import FAILED_STATEMENTS, PANICS
from tests.faults.own_servers import OwnServers, adjust, make_databases
from ticketing.chassis.postgres import server

# A full disk lasts until a change fails, at most so long.
EFFECT_SECONDS: Final = 8.0
# A server that does not accept connections so long after the disk was freed hangs in its recovery.
STUCK_SECONDS: Final = 15.0
# Lines of the server's log that say what a full disk did.
EFFECTS: Final = {FAILED_STATEMENTS: "ERROR:", PANICS: "PANIC:"}
NO_SPACE: Final = "No space left on device"


class Alone(OwnServers):
    """One server, on a small disk where the machine permits that."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self._log = folder.parent / "postgres.log"
        # A full disk has no place for the log.
        self.primary = Cluster(folder / "server", lock, self._log)
        server.create_cluster(self.primary.layout, self.primary.launcher, sync=False)
        self.primary.start()
        adjust(self.primary)
        make_databases(self.primary)
        self.password = self.primary.layout.password_file.read_text()
        self.ports = [self.primary.port]
        self._ballast = folder / "ballast"

    def fill_disk(self, _target: float, seconds: float) -> None:
        """Fill the disk until a table cannot grow, so that a statement fails; free it after some seconds."""
        before = self.effects()[FAILED_STATEMENTS]
        with self._full(seconds):
            await_effect(lambda: self.effects()[FAILED_STATEMENTS] > before)

    def fill_log(self, _target: float, seconds: float) -> None:
        """Fill the disk until the log of changes cannot grow, so that the server ends; free it after some seconds."""
        before = self.effects()[PANICS]
        with self._full(seconds):
            await_effect(lambda: self._use_log() and self.effects()[PANICS] > before)

    def effects(self, _target: float = 0.0, _seconds: float = 0.0) -> dict[str, int]:
        """Count what the full disk did."""
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if NO_SPACE in line]
        return {name: sum(level in line for line in lines) for name, level in EFFECTS.items()}

    def close(self) -> None:
        """End the server."""
        self.primary.stop(signal.SIGQUIT)

    def _use_log(self) -> bool:
        """Begin another file of the log, of which only a few exist."""
        with suppress(psycopg2.Error):
            execute(self.primary.url(), "SELECT pg_logical_emit_message(false, 'torture', ''), pg_switch_wal()")
        return True

    @contextmanager
    def _full(self, seconds: float) -> Iterator[None]:
        try:
            fill(self._ballast)
            yield
            time.sleep(seconds)  # The full disk is the fault.
        finally:
            self._ballast.unlink()
        freed = time.monotonic()
        while not self.primary.answers():
            # Its recovery needed space too, and has ended the server, or left it running for ever. An operator starts it
            # again.
            if self.primary.has_ended():
                self.primary.start()
            elif time.monotonic() > freed + STUCK_SECONDS:
                self._restart(signal.SIGQUIT)
            time.sleep(0.1)  # The server recovers meanwhile.


def fill(path: Path) -> None:
    """Use up the space of the disk of a file."""
    size, step = 0, 1 << 26
    with path.open("wb") as file:
        while step >= 1 << 12:
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step >>= 1


def await_effect(has_effect: Callable[[], bool]) -> None:
    """Wait until a fault has its effect, for a bounded time."""
    until = time.monotonic() + EFFECT_SECONDS
    while time.monotonic() < until and not has_effect():
        time.sleep(0.1)  # The services work meanwhile.
