"""What gate devices need to decide alone, told as it changes; those who are equally far share one look."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.changes import Changes, Cursor, Rules
from scan_service.domain.reasons import Reason
from scan_service.store.changes import read_changes
from scan_service.store.scan_list import may_read
from scan_service.use_cases.watching import Watching
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

INTERVAL_SECONDS: Final = 0.5


class AdmissionsWatch:
    """Tells changes.

    Args:
        database: the scans database.
        watching: says when a watch ends.
    """

    def __init__(self, database: Database, watching: Watching) -> None:
        self._database = database
        self._watching = watching
        self._looks = dict[tuple[UUID, Cursor | None], asyncio.Task[Changes]]()

    async def watch(
        self, event_id: UUID, organizer_id: str | None, after: Cursor | None
    ) -> AsyncGenerator[tuple[Changes, Rules | None], None]:
        """Yield what has changed after `after`, and the rules where they have; then go on.

        Raises:
            Failure: EVENT_NOT_FOUND for an event that is not here, or not of that organizer unless that is None;
                OVERLOADED or DEPENDENCY_UNAVAILABLE where the database does not answer.
        """
        # First, and by itself: what is somebody else's takes no longer than what is not there.
        if not await self._database.run(lambda connection: may_read(connection, event_id, organizer_id)):
            raise _not_found(event_id)
        rules: Rules | None = None
        # What lies at the edge is found again at the next look, and needs no telling then.
        told = dict[UUID, int]()
        while True:
            changes = await self._look(event_id, after)
            if changes.restart:
                told.clear()
            edge = changes.cursor.horizon
            news = [pair for pair in changes.tickets if told.get(pair[0].ticket_id) != pair[1]]
            if news or changes.rules != rules or changes.restart:
                yield replace(changes, tickets=news), None if changes.rules == rules else changes.rules
            rules, after = changes.rules, changes.cursor
            told = {ticket.ticket_id: changed_by for ticket, changed_by in changes.tickets if changed_by >= edge}
            if not await self._watching.pause(INTERVAL_SECONDS):
                return

    async def _look(self, event_id: UUID, after: Cursor | None) -> Changes:
        """Share the look that is under way, if there is one."""
        key = (event_id, after)
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = asyncio.create_task(self._read(event_id, after), name="changes")
            look.add_done_callback(lambda _: self._looks.pop(key))
        # Others may share it when one of them leaves.
        return await asyncio.shield(look)

    async def _read(self, event_id: UUID, after: Cursor | None) -> Changes:
        def work(connection: Connection) -> Changes | None:
            return read_changes(connection, event_id, after)

        changes = await self._database.run(work, isolation="REPEATABLE READ")
        if changes is None:
            raise _not_found(event_id)
        return changes


def _not_found(event_id: UUID) -> Failure:
    return Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=event_id)
