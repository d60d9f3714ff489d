"""A data directory with an embedded PostgreSQL, and the processes that use it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import psycopg2.extensions

from tests.environment.waiting import MAX_SECONDS, eventually
from ticketing.chassis.postgres import Lease, locks
from ticketing.chassis.postgres.layout import Layout


@dataclass
class LeaseProcess:
    """A running lease_process.py."""

    process: subprocess.Popen[str]

    def url(self) -> str:
        """Wait for the URL or error that the process prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def error(self) -> str:
        """Wait until the process fails and return its whole message."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        assert self.process.wait(MAX_SECONDS) == 1
        return text

    def release(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(MAX_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(MAX_SECONDS)


@dataclass
class Site:
    """A data directory and the processes that use it."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str | Path, ...] = (sys.executable,)
    stack: ExitStack = field(default_factory=ExitStack)

    @staticmethod
    @contextmanager
    def connected(url: str) -> Iterator[psycopg2.extensions.connection]:
        with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection:
            connection.autocommit = True
            yield connection

    def query(self, url: str, statement: str) -> list[tuple[object, ...]]:
        with self.connected(url) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def layout(self) -> Layout:
        return Layout(self.data_dir.absolute() / "postgres")

    def lease(self) -> Lease:
        return Lease(self.data_dir, fsync_initdb=False)

    def start_process(self, *options: str, database: str = "things", new_session: bool = False) -> LeaseProcess:
        """Start a process with a lease."""
        process = subprocess.Popen(
            [*self.command, Path(__file__).with_name("lease_process.py"), self.data_dir, database, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self.environment,
            start_new_session=new_session,
        )
        self.stack.callback(self._clear, process)
        return LeaseProcess(process)

    @staticmethod
    def _clear(process: subprocess.Popen[str]) -> None:
        with process:
            process.kill()

    def keeper_pid(self) -> int:
        """Wait until there is exactly one keeper and return its process id."""
        found: list[int] = []

        def is_single() -> bool:
            found[:] = keepers_of(self.layout)
            return len(found) == 1

        eventually(is_single)
        return found[0]

    def postmaster_pid(self) -> int | None:
        try:
            return int((self.layout.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def wait_until_ready(self) -> None:
        """Wait until the server accepts connections."""
        status = self.layout.data / "postmaster.pid"
        eventually(lambda: status.exists() and "ready" in status.read_text())

    def is_idle(self) -> bool:
        """Return whether neither a keeper nor any process of a server is left."""
        if not self.layout.root.exists():
            return True
        return not locks.is_exclusive(self.layout.server_lock) and not keepers_of(self.layout)

    def wait_until_idle(self) -> None:
        eventually(self.is_idle)


def keepers_of(layout: Layout) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"ticketing.chassis.postgres.keeper" in arguments and os.fsencode(layout.root) in arguments:
                found.append(int(entry.name))
    return found


def take_lock(path: Path, mode: int) -> int:
    """Take a lock that is free; return its file descriptor."""
    lock = locks.take(path, mode, wait_seconds=0)
    assert lock is not None
    return lock
