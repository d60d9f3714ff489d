"""Annulments of scans, under the same locks as scans and revocations, so that they take effect one after the other."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.engine import Connection

from scan_service.domain.admission_state import fold_scans
from scan_service.domain.annulment import Annulment, find_obstacle, settle_annulments
from scan_service.domain.audit_trail import annulment_change
from scan_service.domain.incidents import assign_conflicts
from scan_service.domain.refusals import scan_not_annullable, scan_not_found
from scan_service.store import annulments as store
from scan_service.store import audit_trail, incidents
from scan_service.store.annulments import LockedScan
from scan_service.store.clock import DatabaseClock
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Scan, restore_code
from ticketing.chassis.database import Database


class Annulments:
    """The use case that annuls scans."""

    def __init__(self, database: Database, codes: Codes, clock: DatabaseClock) -> None:
        self._database = database
        self._codes = codes
        self._clock = clock

    async def annul(self, annulment: Annulment) -> Scan:
        """Annul a scan and return its record; an annulled scan is returned unchanged.

        The scan of a group is annulled for all of its tickets that are not annulled yet, or for none.

        Raises:
            Failure: SCAN_NOT_FOUND, also for a scan at an event that the caller may not access; SCAN_NOT_ANNULLABLE.
        """
        annulled = await self._database.run(lambda connection: self._annul(connection, annulment))
        return restore_code(annulled, self._codes)

    def _annul(self, connection: Connection, annulment: Annulment) -> Scan:
        visible = store.visible_to(annulment.organizer_id, annulment.bound_to)
        locked = store.lock_scans(connection, annulment.scan_id, visible)
        if not locked:
            raise scan_not_found(annulment.scan_id)
        scan, now = locked[0].scan, self._clock.read(connection)
        if scan.annul_time is not None:
            return scan
        limited = annulment.is_limited(locked[0].event.organizer_id)
        pending = [one for one in locked if one.scan.annul_time is None]
        for one in pending:
            if cause := find_obstacle(one.scan, one.scans, annulment, now, limited=limited):
                raise scan_not_annullable(scan.scan_id, cause)
        annulled, *_ = [self._annul_one(connection, one, now) for one in pending]
        if annulment.recorded_caller is not None:
            change = annulment_change(scan, locked[0].event.organizer_id, len(pending))
            audit_trail.record(connection, annulment.recorded_caller, [change], now)
        return annulled

    def _annul_one(self, connection: Connection, locked: LockedScan, now: datetime) -> Scan:
        scan = locked.scan
        annulled = replace(scan, annul_time=now, claimed_annul_time=None)
        # Without this scan, the claimed annulment of an earlier one may be that of the latest.
        scans = settle_annulments(annulled if other.scan_id == scan.scan_id else other for other in locked.scans)
        store.save_annulments(connection, scans)
        event = None
        if locked.ticket is not None:
            event = locked.event
            admission = fold_scans(scans, locked.ticket.admission)
            store.save_admission(connection, replace(locked.ticket, admission=admission))
        incidents.reassign(connection, scans, assign_conflicts(event, scans), now)
        return annulled
