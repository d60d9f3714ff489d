"""Check-ins and incidents told to the ticket service afterwards, until it confirms them; no scan waits for that."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy.engine import Connection

from scan_service.adapters.tickets import TicketService
from scan_service.domain.feed import CheckIn, Conflict
from scan_service.domain.incidents import IncidentKind, conflicts
from scan_service.store.annulments import lock_admission, save_violations
from scan_service.store.incidents import renew_here
from scan_service.store.reports import mark_incidents_reported, mark_reported, unreported, unreported_incidents
from ticketing.admission.scans import ScanType
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

log = logging.getLogger(__name__)

# The contract's bounds on one call.
MAX_CHECK_INS: Final = 1_000
MAX_INCIDENTS: Final = 1_000
# Between two calls where the last was not full: a call for each few check-ins took as much of a processor as the scans.
PAUSE_SECONDS: Final = 0.5


class Reports:
    """Reports check-ins and incidents.

    Args:
        database: knows what has not been reported.
        tickets: the ticket service.
        clock: the present time.
    """

    def __init__(self, database: Database, tickets: TicketService, clock: Clock) -> None:
        self._database = database
        self._tickets = tickets
        self._clock = clock

    async def report(self) -> None:
        """Report one batch, and let the next one gather.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where the ticket service or the database does not answer.
        """
        check_ins = await self._database.run(lambda connection: unreported(connection, MAX_CHECK_INS))
        if check_ins:
            await self._tell(check_ins)
        if len(check_ins) < MAX_CHECK_INS:
            await asyncio.sleep(PAUSE_SECONDS)

    async def _tell(self, check_ins: Sequence[CheckIn]) -> None:
        for conflict in await self._tickets.report(check_ins):
            log.warning(
                "a ticket was admitted that cannot be",
                extra={"event_id": conflict.event_id, "ticket_id": conflict.ticket_id, "status": conflict.status},
            )
            await self._database.run(partial(self._note, conflict))
        await self._database.run(lambda connection: mark_reported(connection, check_ins))

    async def report_incidents(self) -> None:
        """Report one batch, or wait a moment where there is none.

        A duty of its own, so that an incident that is refused holds up no check-in.

        Raises:
            Failure: as `report` does.
        """
        incidents = await self._database.run(lambda connection: unreported_incidents(connection, MAX_INCIDENTS))
        if not incidents:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        await self._tickets.report_incidents(incidents)
        await self._database.run(lambda connection: mark_incidents_reported(connection, incidents))

    def _note(self, conflict: Conflict, connection: Connection) -> None:
        """Make an incident of the check-ins that stand; told again, it is the same one."""
        held = lock_admission(connection, conflict.event_id, conflict.ticket_id)
        if held is None:
            # Taken back since.
            return
        kind = IncidentKind.UNKNOWN_ADMISSION if conflict.status is None else IncidentKind.REVOKED_ADMISSION
        scans = [
            replace(scan, violation=scan.violation or kind) if scan.scan_type is ScanType.CHECK_IN else scan
            for scan in held.scans
        ]
        save_violations(connection, scans)
        renew_here(connection, scans, conflicts(held.event.policy, scans), self._clock())
