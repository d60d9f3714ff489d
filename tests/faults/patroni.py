"""The Patroni cluster of `deploy/patroni` as the database servers of a run: `python -m tests.faults.patroni FOLDER`."""

import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.failovers import FAULTS, OVER_SECONDS
from deploy.patroni.cluster import Cluster, ClusterError, running_cluster, wait_until
from tests.faults.servers import serve

LOOP_SECONDS: Final = 1
USER: Final = "ticketing"


class PatroniServers:
    """Three servers, of which Patroni makes another one the leader; each fault is over once the cluster is whole again."""

    user = USER

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.password = cluster.password
        self.ports = [node.port for node in cluster.nodes]
        self._failovers = 0

    def checkpoint(self, _target: float, _seconds: float) -> None:
        """Do nothing: commits of the cluster are durable."""

    def switch_over(self, _target: float, seconds: float) -> None:
        self._inflict("switchover", seconds)

    def kill_leader(self, _target: float, seconds: float) -> None:
        self._inflict("kill-postgres", seconds)

    def kill_leader_machine(self, _target: float, seconds: float) -> None:
        self._inflict("kill-machine", seconds)

    def freeze_leader_machine(self, _target: float, seconds: float) -> None:
        self._inflict("freeze-machine", seconds)

    def freeze_standby_machine(self, _target: float, seconds: float) -> None:
        self._inflict("freeze-standby", seconds)

    def kill_etcd(self, _target: float, seconds: float) -> None:
        self._inflict("kill-etcd", seconds)

    def effects(self, _target: float, _seconds: float) -> dict[str, int]:
        """Count the changes of the leader."""
        return {"changes of the leader": self._failovers}

    def _inflict(self, name: str, seconds: float) -> None:
        fault, leader = FAULTS[name], self._cluster.leader()
        if leader is None:
            raise ClusterError("no node leads")
        fault.strike(self._cluster, leader)
        try:
            if fault.changes_leader:
                # A frozen node answers no question.
                others = [node for node in self._cluster.nodes if node is not leader]
                wait_until(lambda: any(node.is_leader() for node in others), "another node leads", OVER_SECONDS)
                self._failovers += 1
            else:
                time.sleep(seconds)  # The machine is missing meanwhile.
        finally:
            fault.repair(self._cluster, leader)
        self._cluster.wait_until_whole()


if __name__ == "__main__":
    try:
        with running_cluster(Path(sys.argv[1]) / "cluster", loop_seconds=LOOP_SECONDS) as running:
            serve(PatroniServers(running))
    except KeyboardInterrupt:
        # Ctrl-C ends the run, and the cluster with it.
        sys.exit(130)
