"""Erase users and addresses: (1) record the erasure, (2) erase the tickets database in batches, (3) ask the scan service.

Each batch is one transaction, which stores the progress too. A crash, an outage of the scan service or a large number
of rows leaves an erasure incomplete; the sweeper continues it.
"""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from sqlalchemy.engine import Connection

from ticket_service.convert.addresses import normalised
from ticket_service.domain import erasures as domain
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.erasures import Erasure, ErasureStatus, ScanCursor, SubjectKind
from ticket_service.store import changes, erasing
from ticket_service.store import erasures as store
from ticket_service.use_cases.cancellations import retry_seconds
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.parsing import NIL

log = logging.getLogger(__name__)

# Batches of one call or sweep, most of which take a few milliseconds.
MAX_BATCHES: Final = 100


class ScannerEraser(Protocol):
    """A client that erases the persons who scanned at the scan service."""

    async def erase_scanner(self, user_id: str, after: ScanCursor | None) -> tuple[int, ScanCursor | None]:
        """Erase a user from a part of the scans, or raise DEPENDENCY_UNAVAILABLE.

        Returns:
            The number of erased scans, and the position of the next part; None after the last part.
        """


class Erasures:
    """The use case of erasing personal data; without `scans`, another process asks the scan service."""

    def __init__(self, database: Database, scans: ScannerEraser | None, clock: Clock) -> None:
        self._database = database
        self._scans = scans
        self._clock = clock

    async def erase(self, caller: Caller, kind: SubjectKind, subject: str) -> Erasure:
        """Erase a subject, as far as MAX_BATCHES and the scan service allow; the sweeper continues the rest."""
        return await self._advance(await self._database.run(lambda c: self._begin(c, caller, kind, subject)))

    async def erase_stored(self, caller: Caller, kind: SubjectKind, subject: str) -> Erasure:
        """Erase a subject from the tickets database completely; raise a Failure if the database does not answer."""
        erasure = await self._database.run(lambda connection: self._begin(connection, caller, kind, subject))
        while erasure.status is ErasureStatus.ERASING_TICKETS:
            erasure = await self._erase_tickets(erasure)
        return await self._database.run(lambda connection: self._release(connection, erasure))

    async def sweep(self) -> bool:
        """Continue the erasure that is due first; return whether more may be due."""
        erasure = await self._database.run(self._claim_due)
        if erasure is None:
            return False
        await self._advance(erasure)
        return True

    def _begin(self, connection: Connection, caller: Caller, kind: SubjectKind, subject: str) -> Erasure:
        now = self._clock()
        erasure, is_new = store.insert_or_find(connection, domain.begin(new_id(), kind, subject, now))
        if is_new:
            details = {"erasure_id": str(erasure.erasure_id), "subject": kind}
            changes.record(connection, caller, Change(ChangeKind.ERASURE_REQUESTED, NIL, details=details), now)
            return erasure
        locked = store.lock(connection, erasure.erasure_id)
        return locked if locked.subject is None else _updated(connection, domain.restart(locked))

    def _claim_due(self, connection: Connection) -> Erasure | None:
        now = self._clock()
        erasure = store.lock_due(connection, now)
        if erasure is None:
            return None
        wait = timedelta(seconds=retry_seconds(erasure.attempts))
        claimed = replace(erasure, attempts=erasure.attempts + 1, due_time=now + wait)
        store.update(connection, claimed)
        return claimed

    async def _advance(self, erasure: Erasure) -> Erasure:
        try:
            for _ in range(MAX_BATCHES):
                if erasure.status is ErasureStatus.COMPLETE:
                    return erasure
                erasure = await (self._erase_tickets(erasure) if erasure.step else self._erase_scans(erasure))
            return await self._database.run(lambda connection: self._release(connection, erasure))
        except Failure as failure:
            # The erasure is recorded, so the caller gets its state and no error.
            facts = {"erasure_id": erasure.erasure_id, "reason": failure.reason, "attempts": erasure.attempts}
            log.warning("an erasure is continued later", extra=facts)
            wait = timedelta(seconds=retry_seconds(erasure.attempts))
            return await self._database.run(lambda connection: self._release(connection, erasure, wait))

    async def _erase_tickets(self, erasure: Erasure) -> Erasure:
        def work(connection: Connection) -> Erasure:
            locked = store.lock(connection, erasure.erasure_id)
            if locked.subject is None or locked.step is None:
                return locked
            if locked.kind is SubjectKind.USER:
                erased = erasing.erase_user(connection, locked.step, locked.subject)
            else:
                # An address is stored in its normalised form, or as an older version received it.
                forms = [locked.subject, normalised(locked.subject) or locked.subject]
                erased = erasing.erase_address(connection, locked.step, forms)
            advanced = domain.advance(locked, erased, self._clock())
            if locked.kind is SubjectKind.USER and advanced.step is None:
                advanced = replace(advanced, kept_events=store.count_events_of(connection, locked.subject))
            return _updated(connection, advanced)

        return await self._database.run(work)

    async def _erase_scans(self, erasure: Erasure) -> Erasure:
        if self._scans is None or erasure.subject is None:
            return erasure
        cursor = erasure.scan_cursor
        count, following = await self._scans.erase_scanner(erasure.subject, cursor)

        def work(connection: Connection) -> Erasure:
            locked = store.lock(connection, erasure.erasure_id)
            if locked.subject is None or locked.scan_cursor != cursor:
                # Another process has asked for this part too.
                return locked
            return _updated(connection, domain.advance_scans(locked, count, following, self._clock()))

        return await self._database.run(work)

    def _release(self, connection: Connection, erasure: Erasure, wait: timedelta = timedelta()) -> Erasure:
        """Make an incomplete erasure due after `wait`, for the next sweep of any process."""
        locked = store.lock(connection, erasure.erasure_id)
        if locked.status is ErasureStatus.COMPLETE:
            return locked
        return _updated(connection, replace(locked, due_time=self._clock() + wait))


def _updated(connection: Connection, erasure: Erasure) -> Erasure:
    store.update(connection, erasure)
    return erasure
