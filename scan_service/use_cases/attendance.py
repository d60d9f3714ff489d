"""The attendance of an event, once or as a watch; all watchers of an event share one count a second."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.attendance import Attendance
from scan_service.store.attendance import read_counts
from scan_service.use_cases.access import check_access
from scan_service.use_cases.watch_pacer import WatchPacer
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

INTERVAL_SECONDS: Final = 1.0


class Attendances:
    """The use case that counts and watches the attendance of events.

    Args:
        database: the scans database.
        clock: the present time.
        pacer: paces the polls and ends them.
    """

    def __init__(self, database: Database, clock: Clock, pacer: WatchPacer) -> None:
        self._database = database
        self._clock = clock
        self._pacer = pacer
        self._counts = dict[UUID, asyncio.Task[Attendance]]()

    async def get(self, event_id: UUID, organizer_id: str | None) -> Attendance:
        """Count the attendance of an event.

        Raises:
            Failure: EVENT_NOT_FOUND for an unknown event and, unless `organizer_id` is None, for another organizer's.
        """
        await self._check(event_id, organizer_id)
        return await self._count(event_id)

    async def watch(self, event_id: UUID, organizer_id: str | None) -> AsyncGenerator[Attendance, None]:
        """Yield the attendance at once, and again whenever a count has changed.

        Raises:
            Failure: as `get`; OVERLOADED or DEPENDENCY_UNAVAILABLE where the database does not answer.
        """
        await self._check(event_id, organizer_id)
        sent: Attendance | None = None
        while True:
            attendance = await self._count_shared(event_id)
            if sent is None or attendance.counts != sent.counts:
                sent = attendance
                yield attendance
            if not await self._pacer.wait(INTERVAL_SECONDS):
                return

    async def _check(self, event_id: UUID, organizer_id: str | None) -> None:
        await self._database.run(lambda connection: check_access(connection, event_id, organizer_id))

    async def _count_shared(self, event_id: UUID) -> Attendance:
        """Join the count in progress for this event, or start one."""
        count = self._counts.get(event_id)
        if count is None:
            count = self._counts[event_id] = asyncio.create_task(self._count(event_id), name="attendance")
            count.add_done_callback(lambda _: self._counts.pop(event_id))
        # The count is shielded: other watchers may share it when this one is cancelled.
        return await asyncio.shield(count)

    async def _count(self, event_id: UUID) -> Attendance:
        now = self._clock()

        def work(connection: Connection) -> Attendance:
            return Attendance(read_counts(connection, event_id, now), now)

        return await self._database.run(work, isolation="REPEATABLE READ")
