"""The files of the embedded PostgreSQL, in one directory that belongs to the user who runs the services."""

import os
import pwd
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError

USER = "postgres"
# The argument of a keeper that creates the cluster without fsync.
NO_SYNC = "--no-sync"


class Layout:
    """The paths below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Every lease locks the file shared; a keeper locks it exclusively once no lease is left.
        self.lease_lock = root / "lease.lock"
        # The keeper locks the file and, through an inherited descriptor, every process of its server does.
        self.server_lock = root / "server.lock"
        # The port of the server; the file stays when the server or its keeper is killed.
        self.port_file = root / "port"
        # The output of the server and the keeper.
        self.log = root / "server.log"
        # The password and the database files; built in `staging` and renamed in one step.
        self.cluster = root / "cluster"
        self.data = self.cluster / "data"
        self.password_file = self.cluster / "password"
        self.staging = root / "cluster.new"

    def read_port(self) -> int | None:
        """Return the recorded port; None if there is none."""
        try:
            return int(self.port_file.read_text())
        except FileNotFoundError:
            return None

    def record_port(self, port: int) -> None:
        """Replace the port file in one step, so that a reader sees the old or the new port."""
        draft = self.port_file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(str(port))
        draft.replace(self.port_file)


def prepare(layout: Layout) -> None:
    """Create the directory and check its owner.

    Raises:
        OSError: the directory cannot be created.
        EmbeddedPostgresError: the directory belongs to another user.
    """
    layout.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.root.mkdir(mode=0o700, exist_ok=True)
    owner = layout.root.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedPostgresError(
            f"{layout.root} belongs to {_name(owner)}, and this is {_name(os.geteuid())}: run as {_name(owner)} "
            "or choose another data directory."
        )


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
