"""A PostgreSQL server that the nemesis breaks, behind a process of one thread.

The server is started between fork() and exec() of a process, which hangs beside other threads. So the run asks this
program, `python -m tests.faults.database FOLDER`, for each restart; the server ends with it.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy.engine import URL

from tests.environment import ROOT
from tests.environment.clusters import Cluster
from tests.environment.waiting import eventually
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import server
from ticketing.chassis.postgres.layout import USER, Layout

END_SECONDS = 30


class DatabaseServer:
    """The server of a run; `port` stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self._layout = Layout(folder / "postgres")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.database", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._answer())

    def restart(self, number: signal.Signals) -> None:
        """End the server by a signal, and start it again."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number.value}\n")
        self._process.stdin.flush()
        self._answer()

    def url(self, database: str = "postgres") -> URL:
        """Return the URL of a database."""
        password = self._layout.password_file.read_text()
        return database_url(f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}")

    def close(self) -> None:
        """End the server for good."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(END_SECONDS)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, "the database server did not start"
        return answer


def serve(folder: Path) -> None:
    """Run a server, and restart it by each signal that arrives on the standard input, until that ends."""
    with (folder / "lock").open("wb") as lock:
        cluster = Cluster(folder / "postgres", lock)
        server.create_cluster(cluster.layout, cluster.launcher, sync=False)
        try:
            cluster.start()
            print(cluster.port, flush=True)
            for line in sys.stdin:
                postmaster = int((cluster.layout.data / "postmaster.pid").read_text().split()[0])
                sessions = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
                cluster.stop(signal.Signals(int(line)))
                # After a kill, a new server refuses to start while sessions of the old one are left.
                eventually(partial(_have_ended, sessions))
                cluster.start()
                print("started", flush=True)
        finally:
            cluster.stop(signal.SIGQUIT)
            cluster.log.close()


def _have_ended(pids: Sequence[str]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]))
    except KeyboardInterrupt:
        # Ctrl-C ends the run, and this server with it.
        sys.exit(130)
