"""Taking scans back, against the same locks as scans and revocations: whoever comes first is found by the others."""

from dataclasses import replace

from sqlalchemy.engine import Connection

from scan_service.domain.admission_state import admission_state
from scan_service.domain.annulment import Annulment, obstacle
from scan_service.domain.incidents import conflicts
from scan_service.domain.reasons import Reason
from scan_service.store import annulments as store
from scan_service.store.incidents import renew_here
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Scan, revealed
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


class Annulments:
    """Annuls scans.

    Args:
        database: the scans database.
        codes: derive those of the tickets.
        clock: the present time, read while the ticket is locked.
    """

    def __init__(self, database: Database, codes: Codes, clock: Clock) -> None:
        self._database = database
        self._codes = codes
        self._clock = clock

    async def annul(self, annulment: Annulment) -> Scan:
        """Annul a scan and return it as it now is; one that was annulled before is returned as it is.

        Raises:
            Failure: SCAN_NOT_FOUND, also for one at somebody else's event; SCAN_NOT_ANNULLABLE.
        """
        annulled = await self._database.run(lambda connection: self._annul(connection, annulment))
        return revealed(annulled, self._codes)

    def _annul(self, connection: Connection, annulment: Annulment) -> Scan:
        visible = store.visible_to(annulment.organizer_id, annulment.bound_to)
        held = store.hold(connection, annulment.scan_id, visible)
        if held is None:
            raise Failure(Reason.SCAN_NOT_FOUND, "no such scan", scan_id=annulment.scan_id)
        scan, now = held.scan, self._clock()
        if scan.annul_time is not None:
            return scan
        limited = annulment.is_limited(held.event.organizer_id)
        cause = obstacle(scan, held.scans, annulment, now, limited=limited)
        if cause is not None:
            message = f"this scan cannot be annulled: {cause}"
            raise Failure(Reason.SCAN_NOT_ANNULLABLE, message, scan_id=scan.scan_id, cause=cause)
        annulled = replace(scan, annul_time=now)
        store.save(connection, annulled)
        scans = [annulled if other.scan_id == scan.scan_id else other for other in held.scans]
        policy = None
        if held.ticket is not None:
            policy = held.event.policy
            admission = admission_state(scans, held.ticket.admission)
            store.save_admission(connection, replace(held.ticket, admission=admission))
        renew_here(connection, scans, conflicts(policy, scans), now)
        return annulled
