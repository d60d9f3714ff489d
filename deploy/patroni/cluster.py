"""Three PostgreSQL servers with Patroni, three etcd servers and haproxy on this machine: `python -m deploy.patroni.cluster`.

Needs the Debian packages patroni, etcd-server, postgresql-15 and haproxy. The program prints the URLs of both databases,
runs until Ctrl-C or the end of its time, and stops everything that it started. Its folder is for trials: keep no data in
it.
"""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import IO, Any, Final

import httpx
import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from dev.clients import free_ports
from ticketing.chassis.postgres.launcher import Launcher, choose_launcher
from ticketing.chassis.postgres.layout import Layout

# Where Debian installs the programs, beside the folders of PATH.
PROGRAMS: Final = {
    "patroni": "patroni",
    "etcd": "etcd-server",
    "haproxy": "haproxy",
    "postgres": "postgresql-15",
}
PATHS: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/postgresql/15/bin"
NODES: Final = 3
START_SECONDS: Final = 90.0
LOOP_SECONDS: Final = 5
STOP_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 2.0
TEMPLATES: Final = Path(__file__).parent


class ClusterError(Exception):
    """The cluster cannot start, or did not reach a state in time."""


def missing_packages() -> list[str]:
    """Return the Debian packages that this machine lacks."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=PATHS) is None]


@dataclass
class Node:
    """One PostgreSQL server with its Patroni: a machine of its own in production."""

    name: str
    folder: Path
    port: int
    rest_port: int
    configuration: Path
    process: subprocess.Popen[bytes] | None = None

    def status(self) -> dict[str, Any]:
        """Return what Patroni reports of this node; empty if it does not answer."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.rest_port}/patroni", timeout=ANSWER_SECONDS)
            return dict(answer.json())
        except (httpx.HTTPError, ValueError):
            return {}

    def is_leader(self) -> bool:
        """Return whether Patroni reports this node as the leader."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.rest_port}/primary", timeout=ANSWER_SECONDS).status_code == 200  # noqa: PLR2004 - OK
        except httpx.HTTPError:
            return False

    def postgres(self) -> list[int]:
        """Return the process ids of the server, the postmaster first; empty if it does not run."""
        try:
            postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
            # The file may be left over, and its id may belong to another program.
            if Path(f"/proc/{postmaster}/cwd").readlink() != self.folder / "data":
                return []
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        except (OSError, ValueError, IndexError):
            return []
        return [postmaster, *map(int, children)]

    def signal_postgres(self, number: int) -> None:
        """Send a signal to every process of the server."""
        for process in self.postgres():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def signal_machine(self, number: int) -> None:
        """Send a signal to Patroni and to every process of the server, as if it reached the whole machine."""
        if self.process is not None:
            self.process.send_signal(number)
        self.signal_postgres(number)


@dataclass
class Cluster:
    """A running cluster."""

    folder: Path
    launcher: Launcher
    log: IO[bytes]
    password: str
    synchronous: bool
    nodes: list[Node]
    etcd_ports: list[tuple[int, int]]
    haproxy_port: int
    etcds: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_etcd(self, number: int) -> subprocess.Popen[bytes]:
        """Start one etcd server, for the first time or again."""
        client, peer = self.etcd_ports[number]
        members = ",".join(f"etcd{n}=http://127.0.0.1:{port}" for n, (_, port) in enumerate(self.etcd_ports))
        folder = self.folder / f"etcd{number}"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.launcher.own(folder)
        return self._start(
            "etcd",
            f"--name=etcd{number}",
            f"--data-dir={folder}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster={members}",
        )

    def start_node(self, node: Node) -> None:
        """Start Patroni on a node, which starts PostgreSQL."""
        node.process = self._start("patroni", str(node.configuration))

    def start_haproxy(self) -> subprocess.Popen[bytes]:
        """Start haproxy in front of all nodes."""
        servers = "\n".join(
            f"    server {node.name} 127.0.0.1:{node.port} check port {node.rest_port}" for node in self.nodes
        )
        configuration = self.folder / "haproxy.cfg"
        template = Template((TEMPLATES / "haproxy.cfg").read_text())
        configuration.write_text(template.substitute(PORT=self.haproxy_port, SERVERS=servers))
        return self._start("haproxy", "-db", "-f", str(configuration))

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        path = shutil.which(program, path=PATHS) or program
        # Patroni stops PostgreSQL on SIGTERM, also when this program was killed.
        return self.launcher.start([path, *arguments], folder=self.folder, output=self.log, death_signal=signal.SIGTERM)

    def leader(self) -> Node | None:
        """Return the leader, if there is one."""
        return next((node for node in self.nodes if node.is_leader()), None)

    def roles(self) -> dict[str, str]:
        """Return the role of each running member as its node reports it: `leader`, `sync_standby` or `replica`."""
        for node in self.nodes:
            with suppress(httpx.HTTPError, ValueError):
                answer = httpx.get(f"http://127.0.0.1:{node.rest_port}/cluster", timeout=ANSWER_SECONDS)
                members = answer.json()["members"]
                return {m["name"]: m["role"] for m in members if m["state"] in {"running", "streaming"}}
        return {}

    def is_whole(self) -> bool:
        """Return whether one node leads, and all others replicate, one of them synchronously."""
        roles = sorted(self.roles().values())
        standby = ["replica", "sync_standby"] if self.synchronous else ["replica", "replica"]
        return roles == ["leader", *standby] and self.leader() is not None

    def wait_until_whole(self) -> None:
        """Wait until `is_whole`.

        Raises:
            ClusterError: the cluster did not get there in START_SECONDS.
        """
        wait_until(self.is_whole, "the cluster is whole", START_SECONDS)

    def switch_over(self) -> None:
        """Ask the leader to hand over to the synchronous standby.

        Raises:
            ClusterError: Patroni refused.
        """
        leader = self.leader()
        if leader is None:
            raise ClusterError("no node leads")
        answer = httpx.post(
            f"http://127.0.0.1:{leader.rest_port}/switchover", json={"leader": leader.name}, timeout=60.0
        )
        if answer.is_error:
            raise ClusterError(f"Patroni refused the switchover: {answer.text}")

    def url(self, database: str, port: int | None = None) -> str:
        """Return the URL of a database through all nodes, or through one `port`."""
        ports = [node.port for node in self.nodes] if port is None else [port]
        hosts = ",".join(f"127.0.0.1:{each}" for each in ports)
        return f"postgresql://ticketing:{self.password}@{hosts}/{database}"

    def proxied_url(self, database: str) -> str:
        """Return the URL of a database through haproxy."""
        return self.url(database, self.haproxy_port)

    def execute(self, node: Node, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement on a node as the superuser."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=node.port, user="postgres", password=self.password, dbname=database
        )
        try:
            connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait until a condition holds; return the seconds that it took.

    Raises:
        ClusterError: it did not hold in time.
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() > begin + seconds:
            raise ClusterError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - begin


@contextmanager
def running_cluster(folder: Path, *, synchronous: bool = True, loop_seconds: int = LOOP_SECONDS) -> Iterator[Cluster]:
    """Run a cluster with the empty databases `tickets` and `scans` in `folder`, which must be new or empty.

    Patroni looks around every `loop_seconds`.

    Raises:
        ClusterError: a program is missing, the folder has content, or the cluster did not start.
    """
    if missing := missing_packages():
        raise ClusterError(f"install the Debian packages {', '.join(missing)}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    if any(folder.iterdir()):
        raise ClusterError(f"{folder} is not empty")
    with ExitStack() as stack:
        lock = stack.enter_context((folder / "lock").open("wb"))
        log = stack.enter_context((folder / "log").open("ab"))
        cluster = _prepare(folder, log, lock.fileno(), synchronous=synchronous, loop_seconds=loop_seconds)
        stack.callback(_stop, cluster)
        cluster.etcds = [cluster.start_etcd(number) for number in range(NODES)]
        for node in cluster.nodes:
            cluster.start_node(node)
        haproxy = cluster.start_haproxy()
        stack.callback(_end, haproxy)
        cluster.wait_until_whole()
        leader = cluster.leader()
        if leader is None:
            raise ClusterError("no node leads")
        cluster.execute(leader, f"CREATE ROLE ticketing LOGIN PASSWORD '{cluster.password}'")
        for database in ("tickets", "scans"):
            cluster.execute(leader, f"CREATE DATABASE {database} OWNER ticketing")
        yield cluster


def _prepare(folder: Path, log: IO[bytes], lock: int, *, synchronous: bool, loop_seconds: int) -> Cluster:
    postgres = Path(shutil.which("postgres", path="/usr/lib/postgresql/15/bin") or "postgres")
    launcher = choose_launcher(postgres.parent, Layout(folder), lock)
    launcher.open_way(folder)
    ports = iter(free_ports(4 * NODES + 1))
    etcd_ports = [(next(ports), next(ports)) for _ in range(NODES)]
    password = secrets.token_hex(16)
    template = Template((TEMPLATES / "node.yml").read_text())
    nodes = []
    for number in range(NODES):
        name = f"node{number}"
        own = folder / name
        own.mkdir(mode=0o700)
        node = Node(name, own, next(ports), next(ports), own / "node.yml")
        node.configuration.touch(mode=0o600)
        text = template.substitute(
            NAME=name,
            FOLDER=own,
            PORT=node.port,
            REST_PORT=node.rest_port,
            PASSWORD=password,
            PROGRAMS=postgres.parent,
            ETCD_HOSTS=",".join(f"127.0.0.1:{client}" for client, _ in etcd_ports),
            SYNCHRONOUS="on" if synchronous else "off",
            LOOP_SECONDS=loop_seconds,
        )
        node.configuration.write_text(text)
        for path in (own, node.configuration):
            launcher.own(path)
        nodes.append(node)
    return Cluster(folder, launcher, log, password, synchronous, nodes, etcd_ports, next(ports))


def _stop(cluster: Cluster) -> None:
    """Stop all nodes and etcd; kill what does not stop."""
    for node in cluster.nodes:
        node.signal_machine(signal.SIGCONT)
        if node.process is not None:
            node.process.terminate()
    for node in cluster.nodes:
        if node.process is not None:
            _end(node.process)
        # Patroni was killed, or did not stop it in time.
        node.signal_postgres(signal.SIGKILL)
    for etcd in cluster.etcds:
        _end(etcd)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Run a cluster until Ctrl-C, SIGTERM or the end of its time; return 1 where it does not start."""
    parser = argparse.ArgumentParser(prog="python -m deploy.patroni.cluster", description=__doc__)
    parser.add_argument("folder", type=Path, help="new folder for the data, the configurations and the log")
    parser.add_argument("--minutes", type=float, default=60, help="stop after this time (default: 60)")
    parser.add_argument("--asynchronous", action="store_true", help="let a failover lose commits")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_cluster(options.folder, synchronous=not options.asynchronous) as cluster:
            for database in ("tickets", "scans"):
                print(f"{database.upper()}_DATABASE_URL={cluster.url(database)}")
                print(f"# through haproxy: {cluster.proxied_url(database)}")
            print(f"# patronictl -c {cluster.nodes[0].configuration} list", flush=True)
            time.sleep(60 * options.minutes)
    except ClusterError as error:
        print(f"cluster: {error}; see {options.folder}/log", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
