"""The list of scans."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from scan_service.store.scan_list import read_scans
from scan_service.use_cases.access import check_access
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Scan, ScanQuery, restore_code
from ticketing.chassis.database import Database


class Scans:
    """The use case that lists scans."""

    def __init__(self, database: Database, codes: Codes) -> None:
        self._database = database
        self._codes = codes

    async def list_scans(self, query: ScanQuery) -> Sequence[Scan]:
        """Return up to `query.size` + 1 scans, newest first; raise EVENT_NOT_FOUND as `check_access` does."""

        def work(connection: Connection) -> Sequence[Scan]:
            check_access(connection, query.event_id, query.organizer_id)
            return read_scans(connection, query)

        return [restore_code(scan, self._codes) for scan in await self._database.read(work)]
