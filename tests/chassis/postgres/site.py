"""A data directory with an embedded PostgreSQL, and the processes that use it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import psycopg2.extensions

from tests.environment.waiting import eventually
from ticketing.chassis.postgres import Lease, locks
from ticketing.chassis.postgres.layout import Layout
from ticketing.chassis.postgres.locks import Mode

WAIT_SECONDS = 40


@dataclass
class HolderProcess:
    """A running holder.py."""

    process: subprocess.Popen[str]

    def url(self) -> str:
        """Wait for the holder's URL or error."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def error(self) -> str:
        """Wait for the holder to fail and return the whole message."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        assert self.process.wait(WAIT_SECONDS) == 1
        return text

    def release(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(WAIT_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_SECONDS)


@dataclass
class Site:
    """A data directory, and who is at work in it."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str | Path, ...] = (sys.executable,)
    stack: ExitStack = field(default_factory=ExitStack)

    @staticmethod
    def eventually(condition: Callable[[], object]) -> None:
        """Wait until the condition holds; fail if that takes too long."""
        eventually(condition, WAIT_SECONDS)

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

    def hold(self, *options: str, database: str = "things", new_session: bool = False) -> HolderProcess:
        """Start a holder."""
        process = subprocess.Popen(
            [*self.command, Path(__file__).with_name("holder.py"), self.data_dir, database, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self.environment,
            start_new_session=new_session,
        )
        self.stack.callback(self._clear, process)
        return HolderProcess(process)

    @staticmethod
    def _clear(process: subprocess.Popen[str]) -> None:
        with process:
            process.kill()

    def keeper_pid(self) -> int:
        """Wait for the keeper that holds its lock, and return its process id."""
        found: list[int] = []

        def look() -> bool:
            found[:] = keepers_of(self.layout)
            return len(found) == 1

        self.eventually(look)
        return found[0]

    def postmaster_pid(self) -> int | None:
        try:
            return int((self.layout.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def is_idle(self) -> bool:
        """Tell whether neither a keeper nor any process of a server is left."""
        if not self.layout.root.exists():
            return True
        held = (locks.is_held_exclusively(lock) for lock in (self.layout.keeper_lock, self.layout.server_lock))
        return not any(held) and not keepers_of(self.layout)

    def wait_until_idle(self) -> None:
        self.eventually(self.is_idle)


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


def take_lock(path: Path, mode: Mode) -> int:
    """Take a lock that is free; return its file descriptor."""
    lock = locks.take(path, mode, wait_seconds=0)
    assert lock is not None
    return lock
