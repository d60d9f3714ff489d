"""Runs PostgreSQL's programs as somebody they accept: they refuse root.

Root runs them in a user namespace of their own, where root is mapped to `nobody`: outside, the files stay root's, and
neither a user nor a permission has to be added. Where namespaces are not allowed, they run as the real `nobody`.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ticketing.chassis.postgres.binaries import Binaries
from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.layout import Layout

_PR_SET_PDEATHSIG = 1
_PROBE_SECONDS = 10
# The overflow uid of Linux, which every distribution lists as nobody: initdb looks its uid up in passwd.
_NAMESPACE_OPTIONS = ("--user", "--map-user=65534", "--map-group=65534")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who runs the programs: ourselves behind `prefix`, or another user."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None


def choose_identity(binaries: Binaries, layout: Layout) -> Identity:
    """Return an identity that PostgreSQL accepts and that owns the cluster, if there is one already."""
    if os.geteuid() != 0:
        return Identity()
    owner = layout.cluster.stat().st_uid if layout.cluster.exists() else None
    unshare = shutil.which("unshare")
    if unshare and owner in (None, 0):
        namespace = Identity(prefix=(unshare, *_NAMESPACE_OPTIONS))
        if _can_run(binaries, namespace):
            return namespace
    nobody = pwd.getpwnam("nobody")
    if owner in (None, nobody.pw_uid):
        user = Identity(uid=nobody.pw_uid, gid=nobody.pw_gid)
        if _can_run(binaries, user):
            return user
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root. Neither a user namespace (`unshare --user`) nor the user nobody can run "
        f"{binaries.postgres} on {layout.root} here: run as an ordinary user, allow user namespaces, or install where "
        "nobody may read."
    )


def _can_run(binaries: Binaries, identity: Identity) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603  the command is ours
            [*identity.prefix, binaries.postgres, "--version"],
            user=identity.uid,
            group=identity.gid,
            extra_groups=None if identity.uid is None else [],
            capture_output=True,
            check=False,
            timeout=_PROBE_SECONDS,
            cwd="/",
        )
    except PermissionError:
        return False
    return probe.returncode == 0


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts PostgreSQL's programs, each of which keeps the descriptor `lock` of the server lock."""

    binaries: Binaries
    identity: Identity
    lock: int

    def start(
        self, command: list[str | Path], *, folder: Path, output: IO[bytes] | int, end_with_us: signal.Signals
    ) -> subprocess.Popen[bytes]:
        """Start a program in `folder` that is sent `end_with_us` when this thread ends."""
        return subprocess.Popen(  # noqa: S603  the commands are ours
            [*self.identity.prefix, *command],
            user=self.identity.uid,
            group=self.identity.gid,
            extra_groups=None if self.identity.uid is None else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ours may be one that the programs' user must not enter, and they refuse to run there.
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},  # The language that we compare messages in.
            pass_fds=[self.lock],
            # Our process has one thread, so nothing can deadlock. Runs after the change of user, which would undo it.
            preexec_fn=_die_with_parent(end_with_us),  # noqa: PLW1509  see above
        )

    def own(self, path: Path) -> None:
        """Give `path` to the user who runs the programs."""
        if self.identity.uid is not None and self.identity.gid is not None:
            os.chown(path, self.identity.uid, self.identity.gid)

    def open_way(self, root: Path) -> None:
        """Let the user who runs the programs pass through `root`, without listing it; everybody else stays out."""
        if self.identity.gid is not None:
            os.chown(root, -1, self.identity.gid)
            root.chmod(0o710)


def _die_with_parent(signal_number: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Looked up before the fork: the child should do as little as possible.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def run() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal_number))
        if os.getppid() != parent:
            os._exit(1)

    return run
