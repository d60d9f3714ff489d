"""ValidateTicket: the decision that a scan would get now, without a lock and without a record."""

from dataclasses import replace

from sqlalchemy.engine import Connection

from scan_service.domain.access import may_access
from scan_service.store.admission import LockedRows
from scan_service.store.clock import DatabaseClock
from scan_service.store.events import read_event
from scan_service.store.tickets import read_ticket
from scan_service.use_cases.admission import ScanBatch
from scan_service.use_cases.batch_locker import LockedBatch
from scan_service.use_cases.failed_code_limit import FailedCodeLimit
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.ticket_lookup import TicketLookup
from ticketing.admission.codes import Codes
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scans import Attempt, Scan
from ticketing.admission.tickets import AdmissionPolicy, Event, EventStatus, Ticket
from ticketing.admission.tokens import Token
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


class Validation:
    """The use case that decides attempts without recording them."""

    def __init__(
        self, database: Database, keys: Keys, codes: Codes, clock: DatabaseClock, failed_codes: FailedCodeLimit
    ) -> None:
        self._database = database
        self._keys = keys
        self._codes = codes
        self._clock = clock
        self._failed_codes = failed_codes

    async def validate(self, attempt: Attempt, *, anywhere: bool) -> Scan:
        """Decide `attempt`; with `anywhere`, at a gate of the ticket's own event.

        Raises:
            Failure: EVENT_NOT_FOUND where the event of the gate is unknown or the caller may not access it; OVERLOADED.
        """
        self._failed_codes.count(attempt)
        scan: Scan | None = None
        try:
            if isinstance(attempt.credential, Token):
                await self._keys.load_missing([attempt.credential.key_id])
            scan = await self._database.run(lambda connection: self._decide(connection, attempt, anywhere=anywhere))
        finally:
            self._failed_codes.discount(attempt, scan)
        return scan

    def _decide(self, connection: Connection, attempt: Attempt, *, anywhere: bool) -> Scan:
        now = self._clock.read(connection)
        rows = LockedRows(now)
        ticket = None
        if isinstance(attempt.credential, Token | LookUpPass | bytes):
            ticket = read_ticket(connection, attempt.credential)
        if ticket is not None:
            key = (ticket.event_id, ticket.ticket_id)
            rows.tickets[key] = ticket
            rows.keys_by_code[ticket.code_digest] = key
        presented = ticket or attempt.credential
        if anywhere and isinstance(presented, Ticket | Token):
            attempt = replace(attempt, gate=replace(attempt.gate, event_id=presented.event_id))
        event = read_event(connection, attempt.gate.event_id)
        if anywhere and (event is None or not may_access(attempt.organizer_id, event.organizer_id)):
            event = _closed_event(attempt)
            if attempt.organizer_id is not None:
                # Another organizer's ticket gets the answer of an unknown one.
                rows = LockedRows(now)
        if event is not None:
            rows.events[event.event_id] = event
        lookup = TicketLookup(rows, self._keys.cached, self._codes, now)
        answer = ScanBatch(LockedBatch(rows, lookup, now)).decide(attempt)
        if isinstance(answer, Failure):
            raise answer
        return answer


def _closed_event(attempt: Attempt) -> Event:
    """Return a stand-in, which admits nobody, for an event that is unknown or that the caller may not access."""
    return Event(
        event_id=attempt.gate.event_id,
        organizer_id=attempt.organizer_id or "",
        name="",
        status=EventStatus.COMPLETED,
        policy=AdmissionPolicy.SINGLE_ENTRY,
        valid_from_time=None,
        valid_until_time=None,
        closed=False,
    )
