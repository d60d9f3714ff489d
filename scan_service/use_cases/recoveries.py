"""Recoveries after a restore of the scans database or a failover that lost commits.

A recovery changes nothing that this database has, but for check-ins whose annulment is reported. It takes back what the
ticket service has, and lets gate devices send again what they have shown. Gates go on meanwhile: a ticket whose
admission is lost may be admitted once more until then, and that becomes an incident as soon as both are recorded.

Every step may be repeated, by several processes at once, and after a crash at any point.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.adapters.tickets import TicketService
from scan_service.domain.incidents import IncidentScan, assign_conflicts
from scan_service.domain.lost_admissions import Mended, ReportedCheckIn, mend
from scan_service.domain.recoveries import Cause, Recovery, RecoveryReport, ReportedDevice, find_lost_commits
from scan_service.store import annulments, device_reports, incidents
from scan_service.store import recoveries as store
from scan_service.store.clock import DatabaseClock
from scan_service.store.revocations import lock_tickets
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Scan
from ticketing.admission.tickets import AdmissionState
from ticketing.chassis.database import Database
from ticketing.chassis.metrics import database_gauge

log = logging.getLogger(__name__)

PENDING_DEVICES: Final = database_gauge(
    "ticketing_recovery_pending_devices",
    "Gate devices that have not sent their scans again after a restore of the database.",
)
UNFINISHED: Final = database_gauge(
    "ticketing_recovery_unfinished",
    "1 while a recovery has not taken back everything that the ticket service has, else 0.",
)
# The interval of the steps of a recovery, which are repeated at once while more is due.
STEP_SECONDS: Final = 2.0
# The tickets that one transaction changes: scans of them wait meanwhile.
MAX_TICKETS: Final = 100
# A service that has seen the database within this time is running.
RUNNING: Final = timedelta(minutes=1)


class UnknownMomentError(Exception):
    """Raised where nothing shows to which moment the database was restored."""


class Recoveries:
    """The use case that recovers lost scans."""

    def __init__(self, database: Database, tickets: TicketService, codes: Codes, clock: DatabaseClock) -> None:
        self._database = database
        self._tickets = tickets
        self._codes = codes
        self._clock = clock

    async def begin(self, since: datetime | None) -> Recovery:
        """Begin a recovery for an operator, or return the open one where it covers the moment.

        Args:
            since: the moment to which the database was restored; None: the last time at which the service has seen it.

        Raises:
            UnknownMomentError: `since` is None, and the service has run on the restored database.
        """
        if (recovery := await self._database.run(lambda connection: self._find_open(connection, since))) is not None:
            return recovery
        await self.rebase()
        return await self._database.run(lambda connection: self._begin(connection, since))

    async def rebase(self) -> None:
        """Move the changes of the server before to the beginning, so that devices can follow those of this one."""
        while await self._database.run(store.rebase_changes):
            pass

    async def step(self) -> bool:
        """Do a part of the open recovery; return whether more is due at once.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where the ticket service or the database does not answer; OVERLOADED because of
                a locked row.
        """
        recovery = await self._database.run(self._read)
        if recovery is None:
            return False
        if recovery.devices_time is None:
            # The gates of lost devices stand still.
            await self._take_back_devices(recovery)
        return recovery.check_ins_time is None and await self._take_back_check_ins(recovery)

    async def export(self) -> None:
        """Export the progress of the open recovery; every process exports the same."""

        def read(connection: Connection) -> tuple[bool, int]:
            recovery = store.read_open(connection)
            if recovery is None:
                return False, 0
            return not recovery.has_answers_of_peer, store.count_pending(connection, recovery)

        unfinished, pending = await self._database.run(read)
        UNFINISHED.set(unfinished)
        PENDING_DEVICES.set(pending)

    async def _take_back_devices(self, recovery: Recovery) -> None:
        """Take back the devices that the ticket service has: lost enrollments and revocations."""
        devices = list[ReportedDevice]()
        while page := await self._tickets.list_devices(devices[-1].device_id if devices else None):
            devices += page

        def take_back(connection: Connection) -> tuple[int, int]:
            now = self._clock.read(connection)
            restored, revoked = device_reports.take_back(connection, devices, now)
            store.save_devices(connection, recovery.recovery_id, restored, revoked, now)
            return restored, revoked

        restored, revoked = await self._database.run(take_back)
        log.warning(
            "the gate devices that the ticket service has are taken back",
            extra={"recovery_id": recovery.recovery_id, "restored": restored, "revoked": revoked},
        )

    async def _take_back_check_ins(self, recovery: Recovery) -> bool:
        """Take back the next check-ins that the ticket service has; return whether more may follow."""
        reports = await self._tickets.list_check_ins(recovery.after)
        if not reports:

            def finish(connection: Connection) -> None:
                store.save_progress(connection, recovery.recovery_id, check_ins_time=self._clock.read(connection))

            await self._database.run(finish)
            log.warning(
                "the check-ins that the ticket service has are taken back",
                extra={"recovery_id": recovery.recovery_id, "recovered": recovery.recovered},
            )
            return False
        for event_id, of_event in groupby(reports, key=lambda report: report.event_id):
            await self._take_back(recovery, event_id, list(of_event))
        last = reports[-1]

        def advance(connection: Connection) -> None:
            store.save_progress(connection, recovery.recovery_id, after=(last.event_id, last.ticket_id))

        await self._database.run(advance)
        return True

    async def read_open(self) -> Recovery | None:
        """Return the open recovery."""
        return await self._database.run(store.read_open)

    async def report(self, recovery: Recovery) -> RecoveryReport:
        """Return the progress of a recovery."""
        read = partial(store.read_report, recovery=recovery)
        return await self._database.run(read, isolation="REPEATABLE READ")

    async def close(self, recovery: Recovery) -> None:
        """Ask devices no longer for their scans."""
        await self._database.run(
            lambda connection: store.close(connection, recovery.recovery_id, self._clock.read(connection))
        )

    def _find_open(self, connection: Connection, since: datetime | None) -> Recovery | None:
        recovery, seen = store.lock_open(connection), store.see_server(connection)
        if recovery is None or find_lost_commits(seen, 0) is not None:
            # The database was restored again, to a moment at which the recovery was open.
            return None
        return recovery if recovery.covers(since) else None

    def _begin(self, connection: Connection, since: datetime | None) -> Recovery:
        if (recovery := self._find_open(connection, since)) is not None:
            return recovery
        seen, now = store.see_server(connection), self._clock.read(connection)
        if since is None:
            was_seen = seen.last_time is not None and now - seen.last_time < RUNNING
            if was_seen and find_lost_commits(seen, 0) is None:
                raise UnknownMomentError
            since = seen.last_time or store.read_latest_time(connection) or now
        recovery = store.begin(connection, Cause.OPERATOR, since, now)
        # The tickets database may be restored too.
        store.forget_feed(connection)
        store.save_server(connection, seen, now)
        return recovery

    def _read(self, connection: Connection) -> Recovery | None:
        recovery = store.read_open(connection)
        if recovery is not None and recovery.is_over(now := self._clock.read(connection)):
            store.close(connection, recovery.recovery_id, now)
            return None
        return recovery

    async def _take_back(self, recovery: Recovery, event_id: UUID, reports: Sequence[ReportedCheckIn]) -> None:
        ticket_ids = [report.ticket_id for report in reports]
        known = await self._database.run(lambda connection: store.read_admissions(connection, event_id, ticket_ids))
        lost = [report for report in reports if report.may_be_lost(known.get(report.ticket_id, AdmissionState()))]
        # A ticket that this database lacks needs a row only if it is checked in.
        lost = [report for report in lost if report.ticket_id in known or report.check_in_time is not None]
        for first in range(0, len(lost), MAX_TICKETS):
            part = lost[first : first + MAX_TICKETS]
            await self._database.run(partial(self._mend, recovery=recovery, event_id=event_id, reports=part))

    def _mend(
        self, connection: Connection, recovery: Recovery, event_id: UUID, reports: Sequence[ReportedCheckIn]
    ) -> None:
        """Mend tickets under the locks of a scan."""
        event = store.lock_event(connection, event_id)
        unknown = [
            (report.ticket_id, 1, self._codes.digest(self._codes.code(report.ticket_id, 1))) for report in reports
        ]
        tickets = lock_tickets(connection, event_id, unknown)
        scans = annulments.read_histories(connection, event_id, tickets)
        now = self._clock.read(connection)
        mended = dict[UUID, Mended]()
        for report in reports:
            ticket = tickets[report.ticket_id]
            mended[report.ticket_id] = mend(
                ticket, scans[report.ticket_id], report, since=recovery.since_time, now=now, codes=self._codes
            )
        recovered = [one.recovered for one in mended.values() if one.recovered is not None]
        store.insert_scans(connection, recovered)
        touched, assigned = list[Scan](), list[IncidentScan]()
        for ticket_id, one in mended.items():
            ticket = tickets[ticket_id]
            if one.recovered is not None or one.annulled:
                annulments.save_annulments(connection, one.scans)
                touched += one.scans
                assigned += assign_conflicts(event, one.scans)
            if one.admission != ticket.admission:
                annulments.save_admission(connection, replace(ticket, admission=one.admission))
        incidents.reassign(connection, touched, assigned, now)
        annulled = sum(len(one.annulled) for one in mended.values())
        store.save_progress(connection, recovery.recovery_id, recovered=len(recovered), annulled=annulled)
        for ticket_id, one in mended.items():
            for scan in one.annulled:
                log.warning(
                    "a check-in was annulled again, as the ticket service has it",
                    extra={"event_id": event_id, "ticket_id": ticket_id, "scan_id": scan.scan_id},
                )
