"""The clock of the database, which all processes share, however much the clocks of their hosts differ."""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def _unshifted(time: datetime) -> datetime:
    return time


class DatabaseClock:
    """The clock by which scans are ordered and revocations are found.

    The time is read after the rows are locked, so the scans of a ticket have times in the order of its locks. Tests
    pass `shift`, which replaces each time read.
    """

    def __init__(self, shift: Callable[[datetime], datetime] = _unshifted) -> None:
        self.shift = shift

    def read(self, connection: Connection) -> datetime:
        """Return the present time, not that of the beginning of the transaction."""
        return self.shift(connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one())
