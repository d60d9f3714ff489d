"""Incidents, read by those who look after an event."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from scan_service.domain.incidents import Incident, IncidentQuery
from scan_service.domain.reasons import Reason
from scan_service.store.incidents import read_incidents
from scan_service.store.scan_list import may_read
from ticketing.admission.codes import Codes
from ticketing.admission.scans import revealed
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


class Incidents:
    """Lists incidents.

    Args:
        database: the scans database.
        codes: derive those of the tickets.
    """

    def __init__(self, database: Database, codes: Codes) -> None:
        self._database = database
        self._codes = codes

    async def list_incidents(self, query: IncidentQuery) -> Sequence[Incident]:
        """Return up to one incident more than `query.size`, newest first.

        Raises:
            Failure: EVENT_NOT_FOUND for an event that is not here, or not the caller's.
        """

        def work(connection: Connection) -> Sequence[Incident]:
            if not may_read(connection, query.event_id, query.organizer_id):
                raise Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=query.event_id)
            return read_incidents(connection, query)

        return [
            replace(incident, scans=tuple(revealed(scan, self._codes) for scan in incident.scans))
            for incident in await self._database.run(work)
        ]
