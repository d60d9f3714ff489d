"""Read the audit trail. The use cases that change something write it."""

from collections.abc import Sequence
from uuid import UUID

from ticket_service.domain.changes import RecordedChange
from ticket_service.domain.queries import ChangeQuery
from ticket_service.store.changes import list_changes
from ticketing.chassis.callers import Caller
from ticketing.chassis.database import Database


class Changes:
    """The use case of reading the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, caller: Caller, query: ChangeQuery, before: UUID | None, limit: int
    ) -> Sequence[RecordedChange]:
        """Read up to `limit` changes that `caller` may see, newest first."""
        return await self._database.read(lambda c: list_changes(c, caller, query, before, limit))
