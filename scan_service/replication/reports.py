"""Reports of check-ins and incidents to the ticket service, repeated until it confirms them; no scan waits for them."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Final

from sqlalchemy.engine import Connection

from scan_service.adapters.tickets import TicketService
from scan_service.domain.feed import CheckInConflict, CheckInReport
from scan_service.domain.incidents import IncidentKind, assign_conflicts
from scan_service.store import device_reports, incidents, reports
from scan_service.store.annulments import lock_latest_check_in, save_violations
from scan_service.store.clock import DatabaseClock
from ticketing.admission.scans import ScanType
from ticketing.chassis.database import Database, RowsLocked

log = logging.getLogger(__name__)

# The check-ins that are read at once.
MAX_CHECK_INS: Final = 1_000
# The check-ins of one call, of which the contract permits 1,000. Scans wait while the process builds and reads a call, and for
# its statements where all cores are busy: the p99 was 0.83 of that beside full calls with 200 devices, 0.56 with 16.
MAX_IN_CALL: Final = 100
# The contract's bounds on one call.
MAX_INCIDENTS: Final = 1_000
MAX_DEVICES: Final = 1_000
# The pause after a read that was not full: one call per few check-ins used as much CPU as the scans themselves.
PAUSE_SECONDS: Final = 0.5
# The rest before the next call, as a multiple of the time of the last one. While thousands of check-ins wait, such as after uploads, their
# reports use a fifth of one core of both services and of PostgreSQL, so that live scans and sales have the others.
REST: Final = 4.0
# A call that waited for another process or a locked row used no core.
MAX_REST_SECONDS: Final = 1.0


class Reports:
    """The tasks that report check-ins and incidents."""

    def __init__(self, database: Database, tickets: TicketService, clock: DatabaseClock) -> None:
        self._database = database
        self._tickets = tickets
        self._clock = clock
        # The check-ins that were read and not reported yet, whether more may wait, and the number of those confirmed.
        self._read: Sequence[CheckInReport] = ()
        self._is_full = False
        self._confirmed = 0

    async def report_check_ins(self) -> bool:
        """Report the next check-ins in one call; return whether more may be waiting.

        A check-in whose ticket another session has locked, in this database or in that of the ticket service, is
        reported again and delays no other one.
        """
        begin = monotonic()
        if not self._read:
            self._read = await self._database.run(lambda c: reports.read_unreported_check_ins(c, MAX_CHECK_INS))
            self._is_full, self._confirmed = len(self._read) == MAX_CHECK_INS, 0
        called, others = self._read[:MAX_IN_CALL], self._read[MAX_IN_CALL:]
        # After a failure they are read again, in their state at that time.
        self._read = ()
        if not called:
            return False
        self._confirmed += await self._report(called)
        self._read = others
        # If another session has locked all that were read, they must not be reported again without a pause.
        is_more = bool(others) or (self._is_full and self._confirmed > 0)
        if is_more:
            await asyncio.sleep(min(REST * (monotonic() - begin), MAX_REST_SECONDS))
        return is_more

    async def _report(self, check_ins: Sequence[CheckInReport]) -> int:
        """Report check-ins in one call; return the number of those that are confirmed."""
        conflicts, recorded = await self._tickets.report_check_ins(check_ins)
        locked = [conflict for conflict in conflicts if not await self._record_conflict(conflict)]
        waiting = {(str(conflict.event_id), str(conflict.ticket_id)) for conflict in locked}
        confirmed = [report for report in recorded if (report.event_id, report.ticket_id) not in waiting]
        return await self._database.run(lambda connection: reports.mark_check_ins_reported(connection, confirmed))

    async def report_incidents(self) -> bool:
        """Report one batch; return whether more may be waiting. This second task keeps incidents from delaying check-ins."""
        batch = await self._database.run(
            lambda connection: reports.read_unreported_incidents(connection, MAX_INCIDENTS)
        )
        if batch:
            await self._tickets.report_incidents(batch)
            await self._database.run(lambda connection: reports.mark_incidents_reported(connection, batch))
        return bool(batch)

    async def report_devices(self) -> bool:
        """Report one batch of gate devices, which the ticket service keeps; return whether more may be waiting."""
        batch = await self._database.run(lambda connection: device_reports.read_unreported(connection, MAX_DEVICES))
        if batch:
            await self._tickets.report_devices(batch)
            await self._database.run(lambda connection: device_reports.mark_reported(connection, batch))
        return len(batch) == MAX_DEVICES

    async def _record_conflict(self, conflict: CheckInConflict) -> bool:
        """Record the incident of a conflict; return whether no other session has locked its rows for long."""
        log.warning(
            "the ticket service does not accept a reported check-in",
            extra={"event_id": conflict.event_id, "ticket_id": conflict.ticket_id, "status": conflict.status},
        )
        try:
            await self._database.run(partial(self._insert_incident, conflict))
        except RowsLocked:
            return False
        return True

    def _insert_incident(self, conflict: CheckInConflict, connection: Connection) -> None:
        """Insert an incident of the effective check-ins; a repeated report leads to the same incident."""
        locked = lock_latest_check_in(connection, conflict.event_id, conflict.ticket_id)
        if locked is None:
            # The check-in was annulled meanwhile.
            return
        kind = IncidentKind.UNKNOWN_ADMISSION if conflict.status is None else IncidentKind.REVOKED_ADMISSION
        scans = [
            replace(scan, violation=scan.violation or kind) if scan.scan_type is ScanType.CHECK_IN else scan
            for scan in locked.scans
        ]
        save_violations(connection, scans)
        incidents.reassign(connection, scans, assign_conflicts(locked.event, scans), self._clock.read(connection))
