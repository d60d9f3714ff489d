"""Brings a database to the newest schema, by Alembic, under a lock: several processes may start at once."""

import logging
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from ticketing.chassis.database import CONNECT_SECONDS

# Any number; it must only be the same in all processes. PostgreSQL scopes it to one database.
LOCK = 7_205_759_403_792_794


def migrate(url: URL, scripts: Path) -> None:
    """Upgrade the database at `url` to the head of `scripts`; nothing happens where it is there already.

    Raises:
        sqlalchemy.exc.OperationalError: PostgreSQL cannot be reached.
    """

    def upgrade(connection: Connection) -> None:
        # Otherwise Alembic names each of its own plugins as it is imported.
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
        # 70 ms of imports that only a start needs.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    locked(url, upgrade)


def locked(url: URL, work: Callable[[Connection], None]) -> None:
    """Run `work` in one transaction that no other start of a service can overlap."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        work(connection)
