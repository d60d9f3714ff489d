"""Schema migrations by Alembic, under a lock: several processes may start at once."""

import logging
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from ticketing.chassis.database import CONNECT_SECONDS

# Any number that is the same in all processes; PostgreSQL scopes it to one database.
LOCK = 7_205_759_403_792_794


def migrate(url: URL, scripts: Path) -> None:
    """Upgrade the database at `url` to the newest revision of `scripts`.

    Raises:
        sqlalchemy.exc.OperationalError: PostgreSQL cannot be reached.
    """

    def upgrade(connection: Connection) -> None:
        # At INFO Alembic logs the name of each of its own plugins.
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
        # These imports take 70 ms, and only a start needs them.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    run_under_lock(url, upgrade)


def run_under_lock(url: URL, work: Callable[[Connection], None]) -> None:
    """Run `work` in one transaction that excludes every other start of a service on this database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        work(connection)
