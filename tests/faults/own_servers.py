"""The faults of PostgreSQL servers without a cluster manager, and what their program needs of them."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.environment.clusters import Cluster
from tests.environment.databases import execute
from tests.environment.waiting import eventually
from ticketing.chassis.postgres.layout import USER

DATABASES: Final = ("tickets", "scans")
WAIT_SECONDS: Final = 60.0
SETTINGS: Final = {
    # Commits that are not durable get lost by a stop within seconds; a durable commit does not wait for this writer.
    "wal_writer_delay": "'10s'",
    # The log is small beside the disk.
    "min_wal_size": "'32MB'",
    "max_wal_size": "'96MB'",
    # A standby connects again soon.
    "wal_retrieve_retry_interval": "'200ms'",
}


class OwnServers:
    """The faults of a server without a cluster manager; `primary` takes changes."""

    user = USER
    primary: Cluster

    def checkpoint(self, _target: float, _seconds: float) -> None:
        """Write a checkpoint: without durable commits, a stop would lose the events themselves."""
        execute(self.primary.url(), "CHECKPOINT")

    def stop_database(self, _target: float, _seconds: float) -> None:
        self._restart(signal.SIGQUIT)

    def kill_database(self, _target: float, _seconds: float) -> None:
        self._restart(signal.SIGKILL)

    def pause_database(self, _target: float, seconds: float) -> None:
        """Stop the server as a disk that hangs does: its kernel accepts connections, and nothing answers."""
        pids = processes(self.primary)
        for pid in pids:
            send(pid, signal.SIGSTOP)
        time.sleep(seconds)  # The pause is the fault.
        for pid in pids:
            send(pid, signal.SIGCONT)

    def _restart(self, number: signal.Signals) -> None:
        self._end(number)
        self.primary.start()

    def _end(self, number: signal.Signals) -> None:
        pids = processes(self.primary)
        self.primary.stop(number)
        if number == signal.SIGKILL:
            # The first process cannot end its sessions, and a stopped one would never notice.
            for pid in pids:
                send(pid, number)
        # A new server refuses to start while sessions of the old one are left.
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), seconds=WAIT_SECONDS)


def adjust(cluster: Cluster) -> None:
    """Give a server the settings of a run."""
    for name, value in SETTINGS.items():
        execute(cluster.url(), f"ALTER SYSTEM SET {name} = {value}")
    execute(cluster.url(), "SELECT pg_reload_conf()")


def make_databases(cluster: Cluster) -> None:
    """Make the empty databases of both services."""
    for name in DATABASES:
        execute(cluster.url(), f"CREATE DATABASE {name}")


def processes(cluster: Cluster) -> list[int]:
    """Return the ids of all processes of a server, the first one first: it starts no more while it is stopped."""
    postmaster = int((cluster.layout.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
