"""The changes that gate devices follow in order to decide offline; watchers with the same cursor share one read."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import UUID

from scan_service.domain.changes import Changes, Cursor, GateRules
from scan_service.domain.refusals import event_not_found
from scan_service.store.changes import read_changes
from scan_service.use_cases.access import check_access
from scan_service.use_cases.watch_pacer import WatchPacer
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

INTERVAL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 10.0


class AdmissionWatcher:
    """The use case that watches the changes of events."""

    def __init__(self, database: Database, pacer: WatchPacer, clock: Clock) -> None:
        self._database = database
        self._pacer = pacer
        self._clock = clock
        self._reads = dict[tuple[UUID, Cursor | None], asyncio.Task[Changes]]()
        # Called where the cursor of a device is beyond the database.
        self.report_lost_commits: Callable[[], None] = lambda: None

    async def watch(
        self, event_id: UUID, organizer_id: str | None, after: Cursor | None
    ) -> AsyncGenerator[tuple[Changes, GateRules | None, datetime], None]:
        """Yield the changes after `after`, with the rules where they changed and the time, then every later change.

        While nothing changes, yield no tickets every HEARTBEAT_SECONDS.

        Raises:
            Failure: EVENT_NOT_FOUND as `check_access` raises it.
        """
        # A transaction of its own makes the answer for another organizer's event take as long as for an unknown one.
        await self._database.run(lambda connection: check_access(connection, event_id, organizer_id))
        rules: GateRules | None = None
        # The tickets that changed at or after the horizon: the next read returns them again, but the device has them.
        sent = dict[UUID, int]()
        last_sent = 0.0
        while True:
            # The time precedes the snapshot, so the device never takes its replica for newer than it is.
            now, begin = self._clock(), monotonic()
            changes = await self._read_after(event_id, after)
            if changes.restart:
                sent.clear()
            horizon, is_page = changes.cursor.horizon, changes.cursor.row is not None
            unsent = [pair for pair in changes.tickets if sent.get(pair[0].ticket_id) != pair[1]]
            has_news = unsent or changes.rules != rules or changes.restart or is_page
            if has_news or begin - last_sent >= HEARTBEAT_SECONDS:
                last_sent = begin
                yield replace(changes, tickets=unsent), None if changes.rules == rules else changes.rules, now
            rules, after = changes.rules, changes.cursor
            sent |= {ticket.ticket_id: changed_by for ticket, changed_by in changes.tickets}
            sent = {ticket_id: changed_by for ticket_id, changed_by in sent.items() if changed_by >= horizon}
            if not await (self._pacer.check() if is_page else self._pacer.wait(INTERVAL_SECONDS)):
                return

    async def _read_after(self, event_id: UUID, after: Cursor | None) -> Changes:
        """Read the changes, all of them where a failover lost something that the device has."""
        # Watchers share a read by their transactions: places differ as soon as anything is written.
        changes = await self._read_shared(event_id, None if after is None else replace(after, place=None))
        if after is None or changes.restart or changes.log.has(after.place):
            return changes
        return await self._read_shared(event_id, None)

    async def _read_shared(self, event_id: UUID, after: Cursor | None) -> Changes:
        key = (event_id, after)
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._read(event_id, after), name="changes")
            read.add_done_callback(lambda _: self._reads.pop(key))
        # The shield protects the read: other watchers may share it when this one is cancelled.
        return await asyncio.shield(read)

    async def _read(self, event_id: UUID, after: Cursor | None) -> Changes:
        changes = await self._database.run(
            lambda connection: read_changes(connection, event_id, after), isolation="REPEATABLE READ"
        )
        if changes is None:
            raise event_not_found(event_id)
        if changes.is_ahead:
            self.report_lost_commits()
        return changes
