"""Where the embedded PostgreSQL keeps what, below the data directory.

Everything lies in one directory of mode 0700 that belongs to the user who runs the services.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError

USER = "postgres"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below `root`."""

    root: Path

    @property
    def lease_lock(self) -> Path:
        """Held shared by every user of the server; the keeper that gets it exclusively knows that nobody is left."""
        return self.root / "lease.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the keeper."""
        return self.root / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        """Held by every process of the server through an inherited descriptor."""
        return self.root / "server.lock"

    @property
    def port_file(self) -> Path:
        """The port of the running server; it stays behind when the server or its keeper was killed."""
        return self.root / "port"

    @property
    def log(self) -> Path:
        """What the server and the keeper have to say."""
        return self.root / "server.log"

    @property
    def cluster(self) -> Path:
        """The password and the database files, made in `staging` and renamed in one step."""
        return self.root / "cluster"

    @property
    def staging(self) -> Path:
        """A cluster in the making; worthless once its maker is gone."""
        return self.root / "cluster.new"

    @property
    def data(self) -> Path:
        """The database files."""
        return self.cluster / "data"

    def read_port(self) -> int | None:
        """Return the recorded port, None if there is none."""
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

    def read_password(self) -> str:
        """Return the password of the cluster."""
        return (self.cluster / "password").read_text()


def prepare(data_dir: Path) -> Layout:
    """Make the directory below `data_dir` and check that it is ours.

    Raises:
        OSError: It cannot be made.
        EmbeddedPostgresError: It belongs to somebody else.
    """
    root = data_dir.absolute() / "postgres"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    owner = root.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedPostgresError(
            f"{root} belongs to {_name(owner)}, and this is {_name(os.geteuid())}: run as {_name(owner)} "
            "or choose another data directory."
        )
    return Layout(root)


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
