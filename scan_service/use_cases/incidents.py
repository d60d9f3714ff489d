"""The list of incidents."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from scan_service.domain.incidents import Incident, IncidentQuery
from scan_service.store.incidents import read_incidents
from scan_service.use_cases.access import check_access
from ticketing.admission.codes import Codes
from ticketing.admission.scans import restore_code
from ticketing.chassis.database import Database


class Incidents:
    """The use case that lists incidents."""

    def __init__(self, database: Database, codes: Codes) -> None:
        self._database = database
        self._codes = codes

    async def list_incidents(self, query: IncidentQuery) -> Sequence[Incident]:
        """Return up to `query.size` + 1 incidents, newest first; raise EVENT_NOT_FOUND as `check_access` does."""

        def work(connection: Connection) -> Sequence[Incident]:
            check_access(connection, query.event_id, query.organizer_id)
            return read_incidents(connection, query)

        return [
            replace(incident, scans=tuple(restore_code(scan, self._codes) for scan in incident.scans))
            for incident in await self._database.read(work)
        ]
