"""How an event's admission stands, once or again and again; those who watch the same event share one look a second."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.attendance import Attendance
from scan_service.domain.reasons import Reason
from scan_service.store.attendance import read_counts
from scan_service.store.scan_list import may_read
from scan_service.use_cases.watching import Watching
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

INTERVAL_SECONDS: Final = 1.0


class Attendances:
    """Counts.

    Args:
        database: the scans database.
        clock: the present time.
        watching: says when a watch ends.
    """

    def __init__(self, database: Database, clock: Clock, watching: Watching) -> None:
        self._database = database
        self._clock = clock
        self._watching = watching
        self._looks = dict[UUID, asyncio.Task[Attendance]]()

    async def get(self, event_id: UUID, organizer_id: str | None) -> Attendance:
        """Count what is recorded now.

        Raises:
            Failure: EVENT_NOT_FOUND for an event that is not here, or not of that organizer unless that is None.
        """
        await self._check(event_id, organizer_id)
        return await self._count(event_id)

    async def watch(self, event_id: UUID, organizer_id: str | None) -> AsyncGenerator[Attendance, None]:
        """Yield how it stands, and again whenever that has changed.

        Raises:
            Failure: as `get`; OVERLOADED or DEPENDENCY_UNAVAILABLE where the database does not answer.
        """
        await self._check(event_id, organizer_id)
        told: Attendance | None = None
        while True:
            attendance = await self._look(event_id)
            if told is None or attendance.counts != told.counts:
                told = attendance
                yield attendance
            if not await self._watching.pause(INTERVAL_SECONDS):
                return

    async def _check(self, event_id: UUID, organizer_id: str | None) -> None:
        if not await self._database.run(lambda connection: may_read(connection, event_id, organizer_id)):
            raise Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=event_id)

    async def _look(self, event_id: UUID) -> Attendance:
        """Share the look that is under way, if there is one."""
        look = self._looks.get(event_id)
        if look is None:
            look = self._looks[event_id] = asyncio.create_task(self._count(event_id), name="attendance")
            look.add_done_callback(lambda _: self._looks.pop(event_id))
        # Others may share it when one of them leaves.
        return await asyncio.shield(look)

    async def _count(self, event_id: UUID) -> Attendance:
        now = self._clock()

        def work(connection: Connection) -> Attendance:
            return Attendance(read_counts(connection, event_id, now), now)

        return await self._database.run(work, isolation="REPEATABLE READ")
