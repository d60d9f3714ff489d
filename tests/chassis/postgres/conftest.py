import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

import ticketing.chassis
from tests.environment.waiting import eventually
from ticketing.chassis.postgres import Lease, locks
from ticketing.chassis.postgres.binaries import Binaries
from ticketing.chassis.postgres.launcher import Identity, Launcher
from ticketing.chassis.postgres.layout import Layout

WAIT_SECONDS = 40
NOBODY = 65534


@dataclass
class BatchLocker:
    """A running holder.py."""

    process: subprocess.Popen[str]

    def url(self) -> str:
        """Wait for the holder's URL or error."""
        return self.process.stdout.readline().strip()

    def error(self) -> str:
        """Wait for the holder to fail and return the whole message."""
        text = self.process.stdout.read()
        assert self.process.wait(WAIT_SECONDS) == 1
        return text

    def release(self) -> int:
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

    def hold(self, *options: str, database: str = "things", new_session: bool = False) -> BatchLocker:
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
        return BatchLocker(process)

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


@pytest.fixture
def site(empty_site: Site, made_cluster: Path) -> Site:
    """Return a data directory with a cluster in it, which saves the time of initdb."""
    empty_site.layout.root.mkdir(mode=0o700, parents=True)
    shutil.copytree(made_cluster, empty_site.layout.cluster)
    return empty_site


@pytest.fixture
def empty_site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "data")
    with site.stack:
        yield site
    site.wait_until_idle()


@pytest.fixture(scope="session")
def made_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Site(tmp_path_factory.mktemp("made"))
    with made.lease():
        pass
    made.wait_until_idle()
    return made.layout.cluster


@pytest.fixture
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a data directory that every user may reach; those of pytest are for root alone."""
    base = Path("/tmp") / f"{tmp_path_factory.getbasetemp().name}-{os.urandom(8).hex()}"  # noqa: S108  random enough
    base.mkdir()
    base.chmod(0o711)
    site = Site(base / "data")
    site.data_dir.mkdir()
    site.data_dir.chmod(0o711)
    with site.stack:
        yield site
    site.wait_until_idle()
    shutil.rmtree(site.data_dir)
    for folder in [*base.iterdir(), base]:
        folder.rmdir()  # Not rmtree: nothing may ever be deleted through a mount.


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], Launcher]]:
    """Return a launcher of a shell script in the place of PostgreSQL's programs."""
    with (tmp_path / "lock").open("w") as lock:

        def write(text: str) -> Launcher:
            script = tmp_path / "initdb-or-postgres"
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o700)
            return Launcher(Binaries(initdb=script, postgres=script), Identity(), lock.fileno())

        yield write


# Root's Python may lie where nobody else can reach it; a mount that nobody but the test sees brings it within reach.
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
MOUNTED = ("unshare", "--mount", "--propagation=private", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"')


@pytest.fixture
def as_nobody(open_site: Site) -> tuple[str | Path, ...]:
    """Return the command that runs Python as the user nobody, with the project within its reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can act for another user")
    reach = open_site.data_dir.with_name("python")
    reach.mkdir()
    path = os.pathsep.join(["PYTHONPATH=" + str(Path(ticketing.chassis.__file__).parents[1]), *filter(None, sys.path)])
    # Another user cannot write the figures of coverage where ours are.
    python = ("env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START", path)
    near = (*AS_NOBODY, *python, sys.executable)
    moved = (*MOUNTED, sys.base_prefix, reach, *AS_NOBODY, *python, reach / "bin" / Path(sys.executable).resolve().name)
    for command in (near, moved):
        if not subprocess.run(
            [*command, "-c", "import ticketing.chassis"], capture_output=True, check=False
        ).returncode:
            return command
    return pytest.skip("nobody cannot run this Python")
