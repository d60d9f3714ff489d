"""The PostgreSQL servers of a run, which the nemesis breaks: one on a small disk, one with a standby, or a cluster.

A program of their own runs them, `tests.faults.servers` or `tests.faults.patroni`. The run asks it for each fault.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import URL

from tests.environment import ROOT
from ticketing.chassis.connections import database_url

# One server; a server and its synchronous standby; three servers with Patroni. LAGGING has an asynchronous standby that
# lacks the last commits, so its promotion loses them: a negative control.
ALONE, STANDBY, LAGGING, PATRONI = "alone", "standby", "lagging", "patroni"
KINDS: Final = (ALONE, STANDBY, PATRONI)
# The faults of each kind of servers, and how often they come.
FAULTS: Final[Mapping[str, Mapping[str, float]]] = {
    ALONE: {"stop database": 2, "kill database": 1, "pause database": 1, "fill disk": 1.5, "fill log": 1.5},
    STANDBY: {"stop database": 1, "kill database": 1, "pause database": 1, "promote standby": 4},
    LAGGING: {"promote standby": 1},
    PATRONI: {
        "switch over": 1,
        "kill leader": 1,
        "kill leader machine": 1,
        "freeze leader machine": 1,
        "freeze standby machine": 0.5,
        "kill etcd": 0.5,
    },
}
# `effects` counts these effects of a full disk.
FAILED_STATEMENTS, PANICS = "statements failed on the full disk", "panics on the full disk"
DISK_FAULTS: Final = ("fill disk", "fill log")
# A mount is seen by the program of the servers and its children alone, and ends with them.
DISK_MEGABYTES: Final = 512
_MOUNT: Final = f'mount -t tmpfs -o mode=0700,size={DISK_MEGABYTES}m small "$0" && exec "$@"'
END_SECONDS: Final = 60


class DatabaseServers:
    """The servers of a run; the ports stay the same over all faults."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder / "postgres"
        self._folder.mkdir()
        self._mount = mount_command(self._folder) if kind == ALONE else []
        # Another server takes over in some faults.
        self.changes_server = kind != ALONE
        # The faults that this machine does not permit.
        self.left_out = [fault for fault in FAULTS[kind] if fault in DISK_FAULTS and not self._mount]
        self.faults = {fault: weight for fault, weight in FAULTS[kind].items() if fault not in self.left_out}
        program = ["tests.faults.patroni"] if kind == PATRONI else ["tests.faults.servers", kind]
        self._process = subprocess.Popen(
            [*self._mount, sys.executable, "-m", *program, str(self._folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started = self._answer()
        self.ports: list[int] = started["ports"]
        self._user, self._password = started["user"], started["password"]

    def inflict(self, fault: str, target: float = 0.0, seconds: float = 0.0) -> Any:
        """Inflict a fault, and wait until it is over; `target` from 0 to 1 chooses among its forms."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"fault": fault, "target": target, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def save(self) -> None:
        """Write a checkpoint."""
        self.inflict("checkpoint")

    def effects(self) -> dict[str, int]:
        """Return what the servers met so far, by name."""
        effects: dict[str, int] = self.inflict("effects")
        return effects

    def url(self, database: str) -> URL:
        """Return the URL of a database through all servers."""
        return self.url_through(self.ports, database)

    def url_through(self, ports: list[int], database: str) -> URL:
        """Return the URL of a database through some ports of this machine."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return database_url(f"postgresql://{self._user}:{self._password}@{hosts}/{database}")

    def close(self) -> None:
        """End the servers for good."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(END_SECONDS)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the program of the database servers ended"
        answer = json.loads(line)
        assert not isinstance(answer, str), answer
        return answer


def mount_command(folder: Path) -> list[str]:
    """Return the words before a command that give it a small disk at `folder`; none where the machine permits no mount."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = [unshare, *as_root, "--mount", "--propagation=private", "sh", "-c", _MOUNT, str(folder)]
    probe = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if probe.returncode == 0 else []
