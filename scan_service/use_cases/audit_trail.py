"""Read the audit trail. The use cases that change something write it."""

from collections.abc import Sequence

from scan_service.domain.audit_trail import ChangeQuery, RecordedChange
from scan_service.store.audit_trail import read_changes_of_callers
from ticketing.chassis.database import Database


class AuditTrail:
    """The use case of reading the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_changes(self, query: ChangeQuery) -> Sequence[RecordedChange]:
        """Return up to `query.size` + 1 changes, newest first."""
        return await self._database.read(lambda connection: read_changes_of_callers(connection, query))
