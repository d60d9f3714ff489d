"""GetHolder: the name of the holder of a ticket that the caller has just scanned, from the ticket service.

Nothing here is on the way of a scan. The name is not stored in this service.
"""

from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.holders import HolderRequest
from scan_service.domain.refusals import scan_not_found
from scan_service.store.clock import DatabaseClock
from scan_service.store.scans import read_scan
from scan_service.use_cases.access import check_access
from ticketing.chassis.database import Database
from ticketing.chassis.failures import overloaded

# The requests of a process at once; the next one is OVERLOADED, and the gate shows no name.
MAX_UNDER_WAY: Final = 32


class NameSource(Protocol):
    """The part of the ticket service that has the names."""

    async def holder_name(self, event_id: UUID, ticket_id: UUID) -> str | None:
        """Return the name, empty where it is unknown, or None where the event does not allow names."""


class Holders:
    """The use case of names."""

    def __init__(self, database: Database, source: NameSource, clock: DatabaseClock) -> None:
        self._database = database
        self._source = source
        self._clock = clock
        self._under_way = 0

    async def name(self, request: HolderRequest) -> str | None:
        """Return the name of the holder, empty where it is unknown; return None where the event does not allow names.

        Raises:
            Failure: EVENT_NOT_FOUND as `check_access` does; SCAN_NOT_FOUND unless the caller scanned this lately;
                OVERLOADED; DEPENDENCY_UNAVAILABLE where the ticket service does not answer in time.
        """
        if self._under_way >= MAX_UNDER_WAY:
            raise overloaded("names of holders")
        self._under_way += 1
        try:
            ticket_id = await self._database.run(lambda connection: self._scanned_ticket(connection, request))
            return "" if ticket_id is None else await self._source.holder_name(request.event_id, ticket_id)
        finally:
            self._under_way -= 1

    def _scanned_ticket(self, connection: Connection, request: HolderRequest) -> UUID | None:
        """Return the ticket of the gate's event that a scan presented; None: it presented none."""
        check_access(connection, request.event_id, request.organizer_id)
        scan = read_scan(connection, request.event_id, request.scan_id)
        if scan is None or not request.is_for(scan, self._clock.read(connection)):
            raise scan_not_found(request.scan_id)
        return scan.ticket_id if scan.event_id == request.event_id else None
