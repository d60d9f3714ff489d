"""A probe of the database: its own connection and its own deadline, so that it waits for no pool and no lock."""

import asyncio
from typing import Final

from sqlalchemy.engine import URL

from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.tasks import BackgroundTask, Essential, Tasks

PROBE_SECONDS: Final = 1.0
# The deadline of the answer, in addition to that of connecting to each host of the URL.
ANSWER_SECONDS: Final = 2.0
# A restart of PostgreSQL takes a second or two: the process stays ready meanwhile.
SILENT_SECONDS: Final = 5.0
NAME: Final = "database"
# A primary that has become a replica is read-only too.
_IS_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"


class DatabaseProbe:
    """The probe of one database, as the step of a background task."""

    def __init__(self, url: URL, application_name: str) -> None:
        self._connection = LoopConnection(url, f"{application_name} probe", {})

    async def step(self) -> None:
        """Ask the database once whether it takes changes.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where it does not answer, or is read-only.
        """
        try:
            async with asyncio.timeout(self._connection.connect_seconds + ANSWER_SECONDS):
                rows = await self._connection.transact(lambda it: it.round_trip(_IS_READ_ONLY))
        except TimeoutError as error:
            # The cancellation has closed the connection.
            raise dependency_unavailable("database") from error
        if rows[0][0]:
            # The next connection may find the primary.
            self._connection.close()
            raise dependency_unavailable("primary database")

    def task(self, tasks: Tasks) -> BackgroundTask:
        """Return the background task of this probe, which is essential to every process."""
        return tasks.new(NAME, self.step, PROBE_SECONDS, Essential(SILENT_SECONDS), max_backoff_seconds=PROBE_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
