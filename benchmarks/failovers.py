"""Sell and scan while PostgreSQL fails over: `python -m benchmarks.failovers FOLDER`, about five minutes.

The pair runs on the Patroni cluster of `deploy/patroni`, in the new folder. Each fault is repaired before the next one.
At the end both databases are compared with what the clients had received.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from benchmarks.failover_clients import Clients, Record, Work, find_losses
from benchmarks.testbed import START_SECONDS, NotReadyError, Testbed
from deploy.patroni.cluster import LOOP_SECONDS, Cluster, Node, running_cluster, wait_until
from dev import up
from dev.clients import free_ports
from dev.keys import development_keys
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import Lease

# The steady time before a fault, and after it before the next one.
STEADY_SECONDS: Final = 4.0
OVER_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.1
# The last lines of a recovery, with the counts of its findings.
RECOVERY_LINES: Final = 15
# The time for which a leader sends nothing to its standbys before it is killed.
UNSENT_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Fault:
    """A fault of the cluster, and its repair; both get the node that led before."""

    name: str
    strike: Callable[[Cluster, Node], None]
    repair: Callable[[Cluster, Node], None]
    # Another node leads afterwards.
    changes_leader: bool = True
    # Commits of the tickets database are lost, so the service refuses changes until it is recovered.
    loses_commits: bool = False


@dataclass(frozen=True)
class Interruption:
    """The seconds that one fault took from callers."""

    fault: str
    # Until another node led; None: the leader stayed.
    leader: float | None
    # Without any answer, and the longest wait of one caller.
    gaps: Mapping[Work, float]
    waits: Mapping[Work, float]
    # The time in which a service reported that it is not ready.
    not_ready: Mapping[str, float]


def _nothing(cluster: Cluster, node: Node) -> None:
    pass


def _stop_etcd(cluster: Cluster, _: Node) -> None:
    cluster.etcds[0].kill()
    cluster.etcds[0].wait()


def _start_etcd(cluster: Cluster, _: Node) -> None:
    cluster.etcds[0] = cluster.start_etcd(0)


def _standby(cluster: Cluster) -> Node:
    roles = cluster.roles()
    return next(node for node in cluster.nodes if roles.get(node.name) == "sync_standby")


def _kill_machine(_: Cluster, node: Node) -> None:
    node.signal_machine(signal.SIGKILL)


def _restart_machine(cluster: Cluster, node: Node) -> None:
    if node.process is not None:
        node.process.wait()
    cluster.start_node(node)


def _freeze_standby(cluster: Cluster, _: Node) -> None:
    _standby(cluster).signal_machine(signal.SIGSTOP)


def _thaw_all(cluster: Cluster, _: Node) -> None:
    for node in cluster.nodes:
        node.signal_machine(signal.SIGCONT)


def _lose_commits(_: Cluster, node: Node) -> None:
    """Kill a leader whose last commits no standby has received."""
    for process in node.postgres():
        if b"walsender" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGSTOP)
    time.sleep(UNSENT_SECONDS)
    node.signal_machine(signal.SIGKILL)


FAULTS: Final = {
    "switchover": Fault("switchover", lambda cluster, _: cluster.switch_over(), _nothing),
    "kill-postgres": Fault(
        "`kill -9` of the leader's PostgreSQL", lambda _, node: node.signal_postgres(signal.SIGKILL), _nothing
    ),
    "kill-machine": Fault("`kill -9` of the leader's PostgreSQL and Patroni", _kill_machine, _restart_machine),
    "freeze-machine": Fault(
        "freeze of the leader's machine", lambda _, node: node.signal_machine(signal.SIGSTOP), _thaw_all
    ),
    "freeze-standby": Fault(
        "freeze of the synchronous standby's machine", _freeze_standby, _thaw_all, changes_leader=False
    ),
    "kill-etcd": Fault("`kill -9` of one etcd server of three", _stop_etcd, _start_etcd, changes_leader=False),
}


# Only on an asynchronous cluster: a synchronous leader acknowledges nothing that no standby has.
LOSS: Final = Fault(
    "`kill -9` of the leader's machine, whose commits were not sent",
    _lose_commits,
    _restart_machine,
    loses_commits=True,
)


@dataclass
class Readiness:
    """The times at which each service was not ready, by its HTTP endpoint."""

    ports: Mapping[str, int]
    not_ready: dict[str, list[float]] = field(default_factory=dict)
    # The number of answers by service and by what was not ready, for a closer look.
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch during the block."""
        threads = [threading.Thread(target=self._watch, args=item) for item in self.ports.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _watch(self, name: str, port: int) -> None:
        times = self.not_ready.setdefault(name, [])
        while not self._stopped.wait(POLL_SECONDS):
            faults = self.faults(port)
            if faults:
                times.append(time.monotonic())
            self.causes.update((name, fault) for fault in faults)

    @staticmethod
    def faults(port: int) -> list[str]:
        """Return what is not ready of the service at a metrics port."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return [] if answer.status == http.client.OK else list(json.load(answer)["not_ready"])
        except OSError:
            return ["no answer"]
        finally:
            connection.close()

    def are_ready(self) -> bool:
        """Return whether all services are ready."""
        return not any(map(self.faults, self.ports.values()))

    def seconds(self, name: str, since: float) -> float:
        """Return the time after `since` in which a service was not ready."""
        times = [moment for moment in self.not_ready.get(name, ()) if moment > since]
        return times[-1] - times[0] + POLL_SECONDS if times else 0.0


@dataclass
class Trial:
    """The pair on a cluster, under load."""

    cluster: Cluster
    testbed: Testbed
    clients: Clients
    readiness: Readiness
    steady_seconds: float = STEADY_SECONDS

    def suffer(self, fault: Fault) -> Interruption:
        """Strike, wait until sales, scans and readiness are back, measure, and repair.

        Raises:
            ClusterError: something did not come back in time.
        """
        time.sleep(self.steady_seconds)
        leader = self.cluster.leader()
        if leader is None:
            raise NotReadyError("no node leads")
        begin = time.monotonic()
        fault.strike(self.cluster, leader)
        try:
            leader_seconds = self._wait_for_leader(leader, begin) if fault.changes_leader else None
            if fault.loses_commits:
                self._recover()
            wait_until(lambda: self._is_steady(begin), "sales, scans and readiness are back", OVER_SECONDS)
        finally:
            # Measured before the repair, which may interrupt callers again.
            found = self._interruption(fault.name, begin)
            fault.repair(self.cluster, leader)
        if not fault.loses_commits:
            # Otherwise the old leader first has to undo what it alone has.
            self.cluster.wait_until_whole()
        return replace(found, leader=leader_seconds)

    def _wait_for_leader(self, before: Node, begin: float) -> float:
        # A frozen node answers no question.
        others = [node for node in self.cluster.nodes if node is not before]
        wait_until(lambda: any(node.is_leader() for node in others), "another node leads", OVER_SECONDS)
        return time.monotonic() - begin

    def _recover(self) -> None:
        """Recover the tickets database, judging everything that is lost as accepted, and print what was found."""
        for arguments in ([], ["--accept"]):
            recovery = run_command(self.testbed, "recover", *arguments)
            lines = [line for line in recovery.stdout.splitlines() if line.strip()]
            print(
                f"recover {' '.join(arguments)}: exit status {recovery.returncode}", *lines[-RECOVERY_LINES:], sep="\n"
            )

    def _interruption(self, name: str, begin: float) -> Interruption:
        record = self.clients.record
        return Interruption(
            name,
            None,
            {work: record.gap(work, begin) for work in Work},
            {work: record.longest_wait(work, begin) for work in Work},
            {service: self.readiness.seconds(service, begin) for service in self.readiness.ports},
        )

    def _is_steady(self, begin: float) -> bool:
        """Return whether sales and scans were answered throughout the last moments, and both services are ready."""
        self.clients.check()
        since = time.monotonic() - self.steady_seconds
        record = self.clients.record
        return (
            since > begin and all(record.gap(work, since) < self.steady_seconds / 2 for work in Work)
        ) and self.readiness.are_ready()


@contextmanager
def running_trial(  # noqa: PLR0913 - the options of the command, as keywords
    folder: Path,
    *,
    through_haproxy: bool = False,
    synchronous: bool = True,
    loop_seconds: int = LOOP_SECONDS,
    steady_seconds: float = STEADY_SECONDS,
    has_both: bool = False,
    seed: int = 1,
) -> Iterator[Trial]:
    """Run a cluster, the pair on it, and its clients.

    The scans of an asynchronous cluster are on a server of their own, unless it `has_both` databases.

    Raises:
        ClusterError: the cluster did not start.
        NotReadyError: a service did not start.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(
            running_cluster(folder / "cluster", synchronous=synchronous, loop_seconds=loop_seconds)
        )
        scans_url = None
        if not synchronous and not has_both:
            # On one cluster both databases lose the same commits, and neither service knows what the other one lost.
            server = stack.enter_context(Lease(folder / "scans"))
            scans_url = database_url(server.url("scans")).set(drivername="postgresql")
        testbed = stack.enter_context(pair_on(cluster, folder, scans_url, through_haproxy=through_haproxy))
        ports = {
            "ticket service": int(testbed.variables["TICKETS_METRICS_PORT"]),
            "scan service": int(testbed.variables["SCANS_METRICS_PORT"]),
        }
        readiness = Readiness(ports)
        clients = Clients(testbed, Record(folder / "answers.jsonl"), seed)
        stack.enter_context(readiness.watched())
        stack.enter_context(clients.running())
        wait_until(lambda: all(clients.record.times[work] for work in Work), "sales and scans", START_SECONDS)
        yield Trial(cluster, testbed, clients, readiness, steady_seconds)


@contextmanager
def pair_on(
    cluster: Cluster, folder: Path, scans_url: URL | None, *, through_haproxy: bool = False
) -> Iterator[Testbed]:
    """Run both services on the databases of a cluster, or with the scans at `scans_url`."""
    names = ("TICKETS_PORT", "SCANS_PORT", "TICKETS_METRICS_PORT", "SCANS_METRICS_PORT")
    url = cluster.proxied_url if through_haproxy else cluster.url
    scans = scans_url.render_as_string(hide_password=False) if scans_url else ""
    settings = {
        "TICKETING_DATA_DIR": str(folder / "keys"),
        "TICKETING_LOG_LEVEL": "ERROR",
        "TICKETS_DATABASE_URL": url("tickets"),
        "SCANS_DATABASE_URL": scans or url("scans"),
        "BENCHMARK_TICKETS_URL": f"{cluster.url('tickets')}?target_session_attrs=read-write",
        "BENCHMARK_SCANS_URL": scans or f"{cluster.url('scans')}?target_session_attrs=read-write",
        **dict(zip(names, map(str, free_ports(len(names))), strict=True)),
    }
    with (
        ExitStack() as stack,
        Testbed(
            folder, up.environment({**os.environ, **settings}), development_keys(folder / "keys"), stack
        ) as testbed,
    ):
        for module, port in (("ticket_service", "TICKETS_PORT"), ("scan_service", "SCANS_PORT")):
            testbed.start(module, int(settings[port]))
        yield testbed


def run_command(testbed: Testbed, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the ticket service with the settings of the running one."""
    return subprocess.run(
        [sys.executable, "-m", "ticket_service", *arguments],
        env=dict(testbed.variables),
        capture_output=True,
        text=True,
        check=False,
    )


def check(trial: Trial) -> list[str]:
    """Return what was lost, sold twice or admitted twice, and what the audit finds."""
    found = find_losses(trial.testbed, trial.clients.record)
    audit = run_command(trial.testbed, "audit")
    return [*found, *([] if audit.returncode == 0 else [f"the audit fails:\n{audit.stdout}{audit.stderr}"])]


def row(found: Interruption) -> str:
    """Return the line of a table."""
    cells = [
        found.fault,
        "-" if found.leader is None else f"{found.leader:.1f}",
        *(f"{found.gaps[work]:.1f} ({found.waits[work]:.1f})" for work in Work),
        *(f"{seconds:.1f}" for seconds in found.not_ready.values()),
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults, print a table, and return 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failovers", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--haproxy", action="store_true", help="connect through haproxy, not by a URL of several hosts")
    parser.add_argument(
        "--asynchronous", action="store_true", help="kill a leader whose last commits no standby has; 1 shows the loss"
    )
    parser.add_argument("--both", action="store_true", help="with --asynchronous: the cluster loses scans too")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    faults = [LOSS] if options.asynchronous else [FAULTS[name] for name in options.faults]
    with running_trial(
        options.folder,
        through_haproxy=options.haproxy,
        synchronous=not options.asynchronous,
        has_both=options.both,
        seed=options.seed,
    ) as trial:
        print("| fault | new leader | sales | scans | ticket service not ready | scan service not ready |")
        print("|---|---|---|---|---|---|", flush=True)
        for fault in faults:
            print(row(trial.suffer(fault)), flush=True)
        trial.clients.stop()
        record = trial.clients.record
        found = check(trial)
    answers = ", ".join(f"{len(record.times[work])} {work}" for work in Work)
    print(f"\n{answers} answered; {len(record.sold_out)} events sold out; failed tries: {dict(record.failures)}")
    print(f"answers of /readyz by what was not ready: {dict(trial.readiness.causes)}")
    print("\n".join(found) or "nothing acknowledged was lost, no place was sold twice, no ticket was admitted twice")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
