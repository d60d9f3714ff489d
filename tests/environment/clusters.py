"""A primary and its streaming replica, and PgBouncer: what stands between a service and its data in production."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import psycopg2
import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.environment.databases import execute
from tests.environment.waiting import eventually
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import server
from ticketing.chassis.postgres.launcher import Launcher, choose_launcher, find_programs
from ticketing.chassis.postgres.layout import USER, Layout

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


class Cluster:
    """A PostgreSQL server with its own files; its log is in them by default."""

    def __init__(self, root: Path, lock: IO[bytes], log: Path | None = None) -> None:
        root.mkdir()
        self.layout = Layout(root)
        [self.port] = free_ports(1)
        self.log = log or root / "log"
        self.launcher: Launcher = choose_launcher(find_programs(), self.layout, lock.fileno())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = server.start(self.port, self.layout, self.launcher, log)
        eventually(self.answers)

    def stop(self, number: int = signal.SIGINT) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def has_ended(self) -> bool:
        """Return whether the server has ended by itself, or was stopped."""
        return self._process is None or self._process.poll() is not None

    def answers(self) -> bool:
        try:
            execute(self.url(), "SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def url(self, database: str = "postgres") -> URL:
        password = self.layout.password_file.read_text()
        return database_url(f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}")

    def run(self, program: str, *arguments: str | Path) -> None:
        with self.log.open("ab") as log:
            process = self.launcher.start(
                [self.launcher.programs / program, *arguments],
                folder=self.layout.root,
                output=log,
                death_signal=signal.SIGKILL,
            )
        assert process.wait(60) == 0, self.log.read_text()


class Pair:
    """A primary and its replica, which change places in a failover."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self.primary = Cluster(folder / "a", lock)
        self.replica = Cluster(folder / "b", lock)
        with ExitStack() as started:
            started.callback(self.stop)
            server.create_cluster(self.primary.layout, self.primary.launcher, sync=False)
            self.primary.start()
            self.replica.layout.cluster.mkdir(mode=0o700)
            shutil.copy(self.primary.layout.password_file, self.replica.layout.password_file)
            self._copy()
            started.pop_all()

    def _copy(self) -> None:
        """Copy the files of the primary, and start the replica on them."""
        source = self.primary.url().set(drivername="postgresql").render_as_string(hide_password=False)
        data = self.replica.layout.data
        self.replica.run("pg_basebackup", "-D", data, "-d", source, "-R", "-c", "fast", "--no-sync")
        self.replica.start()

    def url(self, database: str = "postgres") -> URL:
        """Return a URL that names both servers, the replica first."""
        one = self.primary.url(database)
        hosts = [f"127.0.0.1:{cluster.port}" for cluster in (self.replica, self.primary)]
        return database_url(f"postgresql://{one.username}:{one.password}@{','.join(hosts)}/{database}")

    def stop_primary(self) -> None:
        self.primary.stop()

    def take_over(self) -> None:
        """Promote the replica, whatever the primary does."""
        execute(self.replica.url(), "SELECT pg_promote()")
        self.primary, self.replica = self.replica, self.primary

    def promote(self) -> None:
        """Promote the replica; the stopped primary comes back as its replica."""
        self.take_over()
        source = self.primary.url().set(drivername="postgresql").render_as_string(hide_password=False)
        data = self.replica.layout.data
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{source}'\n")
        (data / "standby.signal").touch()
        self.replica.start()

    def replace_replica(self) -> None:
        """Make the server that is no longer the primary a replica, whatever it alone has."""
        self.replica.stop(signal.SIGKILL)
        shutil.rmtree(self.replica.layout.data)
        self._copy()

    def stop(self) -> None:
        for cluster in (self.primary, self.replica):
            cluster.stop(signal.SIGQUIT)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with (folder / "lock").open("wb") as lock, ExitStack() as stack:
        made = Pair(folder, lock)
        stack.callback(made.stop)
        yield made


@contextmanager
def pgbouncer(url: URL, mode: str, **settings: object) -> Iterator[URL]:
    """Run PgBouncer in front of the server of `url`; yield the URL through it."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    [port] = free_ports(1)
    # PgBouncer refuses root. The user nobody reaches no folder of pytest.
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lines = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "pool_mode": mode}
        lines |= {"auth_type": "scram-sha-256", "auth_file": folder / "users", **settings}
        text = [f"[databases]\n* = host=127.0.0.1 port={url.port}\n[pgbouncer]"]
        (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
        (folder / "ini").write_text("\n".join([*text, *(f"{key} = {value}" for key, value in lines.items())]))
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with subprocess.Popen([PGBOUNCER, *user, str(folder / "ini")], stderr=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: _listens(port))
                yield url.set(host="127.0.0.1", port=port)
            finally:
                process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
