"""The attendance of an event, once or as a watch; equal reads are shared, because a count reads every scan of an event."""

from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

from scan_service.domain.attendance import Attendance
from scan_service.store.attendance import read_counts
from scan_service.use_cases.access import check_access
from scan_service.use_cases.watch_pacer import WatchPacer
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.shared_reads import SharedReads

INTERVAL_SECONDS: Final = 1.0


class Attendances:
    """The use case that counts and watches the attendance of events."""

    def __init__(self, database: Database, clock: Clock, pacer: WatchPacer) -> None:
        self._database = database
        self._clock = clock
        self._pacer = pacer
        self._counts = SharedReads("attendance", self._count)

    async def get(self, event_id: UUID, organizer_id: str | None) -> Attendance:
        """Count the attendance of an event; raise EVENT_NOT_FOUND as `check_access` does."""
        await self._check(event_id, organizer_id)
        return await self._counts.get(event_id)

    async def watch(self, event_id: UUID, organizer_id: str | None) -> AsyncGenerator[Attendance, None]:
        """Yield the attendance at once and after each change of a count; raise EVENT_NOT_FOUND as `get` does."""
        await self._check(event_id, organizer_id)
        sent: Attendance | None = None
        while True:
            attendance = await self._counts.get(event_id, may_have_begun=True)
            if sent is None or attendance.counts != sent.counts:
                sent = attendance
                yield attendance
            if not await self._pacer.wait(INTERVAL_SECONDS):
                return

    async def _check(self, event_id: UUID, organizer_id: str | None) -> None:
        await self._database.run(lambda connection: check_access(connection, event_id, organizer_id))

    async def _count(self, event_id: UUID) -> Attendance:
        now = self._clock()
        counts = await self._database.read(
            lambda connection: read_counts(connection, event_id, now), isolation="REPEATABLE READ"
        )
        return Attendance(counts, now)
