"""A PostgreSQL server with a standby, which takes over."""

import signal
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final

import psycopg2

from tests.environment.clusters import Cluster, Pair
from tests.environment.databases import execute, read_value
from tests.environment.waiting import eventually
from tests.faults.own_servers import DATABASES, WAIT_SECONDS, OwnServers, adjust, make_databases, processes, send

# A standby that lags receives nothing for so long before its promotion.
UNSENT_SECONDS: Final = 1.0


class WithStandby(OwnServers):
    """A server and its standby, which change places; `is_synchronous`: the standby has each acknowledged commit."""

    def __init__(self, folder: Path, lock: IO[bytes], *, is_synchronous: bool) -> None:
        self._is_synchronous = is_synchronous
        self._pair = Pair(folder, lock)
        for cluster in (self._pair.primary, self._pair.replica):
            adjust(cluster)
        make_databases(self.primary)
        self.password = self.primary.layout.password_file.read_text()
        self.ports = [self._pair.replica.port, self.primary.port]
        self._await_databases()
        self._await_standby()

    @property
    def primary(self) -> Cluster:  # type: ignore[override]  # the pair decides
        return self._pair.primary

    def promote_standby(self, target: float, seconds: float) -> None:
        """End the primary, by a kill in half of the cases, and promote the standby; make a new standby."""
        is_kill = target < 0.5 or not self._is_synchronous
        if not self._is_synchronous:
            self._hold_back()
        self._end(signal.SIGKILL if is_kill else signal.SIGQUIT)
        time.sleep(seconds / 4)  # Somebody notices, and decides.
        self._pair.take_over()
        self._pair.replace_replica()
        self._await_standby()

    def hold_standby(self, _target: float, _seconds: float) -> None:
        """Cut the standby off once it has everything so far."""
        written = read_value(self.primary.url(), "SELECT pg_current_wal_flush_lsn()::text")
        has_all = f"SELECT pg_last_wal_receive_lsn() >= '{written}'::pg_lsn"
        eventually(lambda: read_replica(self._pair.replica, has_all), seconds=WAIT_SECONDS)
        self._pair.replica.stop()

    def promote_held_standby(self, _target: float, _seconds: float) -> None:
        """Kill the primary, and promote the standby that was cut off."""
        self._end(signal.SIGKILL)
        self._pair.replica.start()
        self._pair.take_over()

    def effects(self, _target: float = 0.0, _seconds: float = 0.0) -> dict[str, int]:
        """Count the promotions: each begins a timeline."""
        timeline = read_value(self.primary.url(), "SELECT timeline_id FROM pg_control_checkpoint()")
        return {"promotions": timeline - 1}

    def close(self) -> None:
        """End both servers."""
        self._pair.stop()

    def _restart(self, number: signal.Signals) -> None:
        """Restart the primary; a commit that its recovery made visible must reach the standby before a promotion."""
        super()._restart(number)
        self._await_standby()

    def _await_databases(self) -> None:
        """Wait until the standby has the new databases: libpq asks no further host after one that lacks the database."""
        made = f"SELECT count(*) FROM pg_database WHERE datname IN {DATABASES}"
        eventually(lambda: read_replica(self._pair.replica, made), len(DATABASES), seconds=WAIT_SECONDS)

    def _hold_back(self) -> None:
        for pid in processes(self.primary):
            if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                send(pid, signal.SIGSTOP)
        time.sleep(UNSENT_SECONDS)  # The standby lags meanwhile.

    def _await_standby(self) -> None:
        """Wait until the standby receives everything; from then on each commit waits for it."""
        url, state = self.primary.url(), "streaming"
        if self._is_synchronous:
            execute(url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            execute(url, "SELECT pg_reload_conf()")
            state = "sync"
        column = "sync_state" if self._is_synchronous else "state"
        found = f"SELECT coalesce((SELECT {column} FROM pg_stat_replication WHERE state = 'streaming'), '')"
        eventually(lambda: read_value(url, found), state, seconds=WAIT_SECONDS)


def read_replica(cluster: Cluster, query: str) -> Any:
    """Return the one value that a query reads on a standby."""
    connection = psycopg2.connect(cluster.url().set(drivername="postgresql").render_as_string(hide_password=False))
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(query)
        [(value,)] = cursor.fetchall()
        return value
