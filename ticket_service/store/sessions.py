"""The transaction of a command that an operator runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from ticketing.chassis.connections import open_engine


@contextmanager
def session(url: URL) -> Iterator[Connection]:
    """Yield a transaction that commits at the end."""
    engine = open_engine(url, "ticket_service command", poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection
