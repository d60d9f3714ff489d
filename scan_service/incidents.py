"""Incidents, read by those who look after an event."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from chassis.database import Database
from chassis.failures import Failure
from scan_service.domain.incidents import Incident, IncidentQuery
from scan_service.domain.reasons import Reason
from scan_service.store.incidents import read_incidents
from scan_service.store.records import may_read


class Incidents:
    """Lists incidents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_incidents(self, query: IncidentQuery) -> Sequence[Incident]:
        """Return up to one incident more than `query.size`, newest first.

        Raises:
            Failure: EVENT_NOT_FOUND for an event that is not here, or not the caller's.
        """

        def work(connection: Connection) -> Sequence[Incident]:
            if not may_read(connection, query.event_id, query.organizer_id):
                raise Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=query.event_id)
            return read_incidents(connection, query)

        return await self._database.run(work)
