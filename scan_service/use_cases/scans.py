"""The record of scans, read by those who look after an event."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from scan_service.domain.reasons import Reason
from scan_service.store import scan_list as store
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Scan, ScanQuery, revealed
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


class Records:
    """Lists scans.

    Args:
        database: the scans database.
        codes: derive those of the tickets.
    """

    def __init__(self, database: Database, codes: Codes) -> None:
        self._database = database
        self._codes = codes

    async def list_scans(self, query: ScanQuery) -> Sequence[Scan]:
        """Return up to one scan more than `query.size`, newest first.

        Raises:
            Failure: EVENT_NOT_FOUND for an event that is not here, or not the caller's.
        """

        def work(connection: Connection) -> Sequence[Scan]:
            if not store.may_read(connection, query.event_id, query.organizer_id):
                raise Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=query.event_id)
            return store.read_scans(connection, query)

        return [revealed(scan, self._codes) for scan in await self._database.run(work)]
