"""Transactions of commands."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from ticketing.chassis.database import connect_arguments


@contextmanager
def session(url: URL) -> Iterator[Connection]:
    """Yield a transaction that commits at the end."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=connect_arguments("scan_service command"))
    with engine.begin() as connection:
        yield connection
