"""Read the audit trail, and record the searches of operators. The use cases that change something write the rest."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from ticket_service.domain.changes import Change, RecordedChange
from ticket_service.domain.queries import ChangeQuery
from ticket_service.store import changes as store
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.database import Database


class Changes:
    """The use case of reading the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, caller: Caller, query: ChangeQuery, before: UUID | None, limit: int
    ) -> Sequence[RecordedChange]:
        """Read up to `limit` changes that `caller` may see, newest first."""
        return await self._database.read(lambda c: store.list_changes(c, caller, query, before, limit))


async def record_search(
    database: Database, caller: Caller, search: Change | None, clock: Callable[[], datetime]
) -> None:
    """Record a search for a person, unless None, before an operator gets the answer.

    Other callers search among their own customers.
    """
    if search is not None and caller.is_any(Role.OPERATOR):
        await database.run(lambda connection: store.record(connection, caller, search, clock()))
