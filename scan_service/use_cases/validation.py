"""What a scan would answer, recording nothing: the same decision on the same data, without a lock."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.store.admission import LockedRows
from scan_service.store.scan_list import read_event, read_ticket
from scan_service.use_cases.admission import Batch
from scan_service.use_cases.batch_locker import LockedBatch
from scan_service.use_cases.guessing import Guessing
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.ticket_lookup import TicketLookup
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Scan
from ticketing.admission.tickets import AdmissionPolicy, Event, EventStatus
from ticketing.admission.tokens import Token
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


class Validation:
    """Answers what would be answered.

    Args:
        database: the scans database.
        keys: verify tokens.
        codes: look up typed codes.
        clock: the present time.
        guessing: holds up who tries codes, here as at a gate.
    """

    def __init__(self, database: Database, keys: Keys, codes: Codes, clock: Clock, guessing: Guessing) -> None:
        self._database = database
        self._keys = keys
        self._codes = codes
        self._clock = clock
        self._guessing = guessing

    async def validate(self, attempt: Attempt, *, anywhere: bool) -> Scan:
        """Decide `attempt`; with `anywhere` at a gate of the ticket's own event.

        Raises:
            Failure: EVENT_NOT_FOUND for a gate's event that is not here, or not the caller's; OVERLOADED.
        """
        self._guessing.check(attempt)
        if isinstance(attempt.credential, Token):
            await self._keys.look_for([attempt.credential.key_id])
        scan = await self._database.run(lambda connection: self._decide(connection, attempt, anywhere=anywhere))
        self._guessing.note(attempt, scan)
        return scan

    def _decide(self, connection: Connection, attempt: Attempt, *, anywhere: bool) -> Scan:
        held = LockedRows()
        ticket = None
        if isinstance(attempt.credential, Token | bytes):
            ticket = read_ticket(connection, attempt.credential)
        if ticket is not None:
            key = (ticket.event_id, ticket.ticket_id)
            held.tickets[key] = ticket
            held.keys_by_code[ticket.code_digest] = key
        if anywhere and ticket is not None:
            attempt = _moved(attempt, ticket.event_id)
        elif anywhere and isinstance(attempt.credential, Token):
            attempt = _moved(attempt, attempt.credential.event_id)
        event = read_event(connection, attempt.gate.event_id)
        if anywhere and (event is None or attempt.organizer_id not in {None, event.organizer_id}):
            event = _nowhere(attempt)
            if attempt.organizer_id is not None:
                # Somebody else's ticket is answered as one that is not there.
                held = LockedRows()
        if event is not None:
            held.events[event.event_id] = event
        now = self._clock()
        holding = LockedBatch(held, TicketLookup(held, self._keys, self._codes, now), now)
        answer = Batch(holding).answer(attempt)
        if isinstance(answer, Failure):
            raise answer
        return answer


def _moved(attempt: Attempt, event_id: UUID) -> Attempt:
    return replace(attempt, gate=replace(attempt.gate, event_id=event_id))


def _nowhere(attempt: Attempt) -> Event:
    """Stand in for the event of a text that names none that is known here: it lets nobody in."""
    return Event(
        event_id=attempt.gate.event_id,
        organizer_id=attempt.organizer_id or "",
        name="",
        status=EventStatus.DRAFT,
        policy=AdmissionPolicy.SINGLE_ENTRY,
        valid_from_time=None,
        valid_until_time=None,
        closed=False,
    )
