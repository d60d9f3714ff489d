"""The scans of all gates, answered in batches: one transaction in two trips, and nothing is answered before its commit.

Status and rules are never judged from memory: the event is shared-locked and the ticket locked, each time, so that a
revocation comes wholly before a batch or wholly after it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chassis.clock import Clock
from chassis.failures import Failure
from chassis.loop_connection import LoopConnection
from scan_service.domain.admission import Decision, Presented, decide
from scan_service.domain.codes import Codes
from scan_service.domain.incidents import Link, forgery
from scan_service.domain.reasons import Reason
from scan_service.domain.scans import Attempt, DenialReason, Scan, Verdict, recorded_text
from scan_service.domain.tickets import Admission, Entry, Event, Ticket
from scan_service.domain.tokens import Token
from scan_service.keys import Keys
from scan_service.recognition import Recognition
from scan_service.store import admission as store
from scan_service.store import incidents

MICROSECOND: Final = timedelta(microseconds=1)


class Admissions:
    """Answers batches of attempts.

    Args:
        connection: with store.STATEMENTS prepared.
        keys: verify tokens.
        codes: look up typed codes.
        clock: the present time, read while the tickets are locked.
    """

    def __init__(self, connection: LoopConnection, keys: Keys, codes: Codes, clock: Clock) -> None:
        self._connection = connection
        self._keys = keys
        self._codes = codes
        self._clock = clock

    async def process(self, attempts: Sequence[Attempt]) -> Sequence[Scan | Failure]:
        """Decide and record `attempts` in their order; an attempt seen before gets its first answer."""
        tokens = [attempt.credential for attempt in attempts if isinstance(attempt.credential, Token)]
        await self._keys.look_for(token.key_id for token in tokens)
        wanted = store.Wanted(
            events=sorted({attempt.gate.event_id for attempt in attempts}),
            tickets=sorted({(token.event_id, token.ticket_id) for token in tokens}),
            code_digests={attempt.credential for attempt in attempts if isinstance(attempt.credential, bytes)},
            scans={attempt.scan_id for attempt in attempts},
        )

        async def run(connection: LoopConnection) -> Sequence[Scan | Failure]:
            batch = await self._hold(connection, wanted)
            if unknown := batch.recognition.unknown(attempts):
                await connection.trip(*store.create(unknown))
                batch = await self._hold(connection, wanted)
            answers = [batch.answer(attempt) for attempt in attempts]
            if batch.forgeries:
                await connection.trip(*incidents.note(batch.forgeries, batch.now))
            await connection.trip(*store.write(batch.now, batch.recorded, batch.changed))
            return answers

        return await self._connection.transact(run)

    async def _hold(self, connection: LoopConnection, wanted: store.Wanted) -> "Batch":
        held = store.held(await connection.trip(*wanted.hold()))
        return Batch(held, self._keys, self._codes, self._clock())


class Batch:
    """The decisions over what one transaction holds; each is made against the state after the one before."""

    def __init__(self, held: store.Held, keys: Keys, codes: Codes, now: datetime) -> None:
        self._held = held
        self.recognition = Recognition(held, keys, codes, now)
        self._times = dict[store.TicketKey, datetime]()
        self.now = now
        self.recorded = list[Scan]()
        self.forgeries = list[Link]()
        self.changed = dict[store.TicketKey, Admission]()

    def answer(self, attempt: Attempt) -> Scan | Failure:
        """Decide one attempt."""
        fingerprint = attempt.fingerprint()
        first = self._held.scans.get(attempt.scan_id)
        if first is not None:
            if first.fingerprint == fingerprint:
                return first
            return Failure(Reason.SCAN_ID_REUSED, "this scan_id was used for a different scan", scan_id=attempt.scan_id)
        event = self._held.events.get(attempt.gate.event_id)
        if event is None or attempt.organizer_id not in {None, event.organizer_id}:
            return Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=attempt.gate.event_id)
        scan = self._decided(attempt, event, fingerprint)
        self._held.scans[scan.scan_id] = scan
        self.recorded.append(scan)
        if scan.denial_reason is DenialReason.INVALID_SIGNATURE:
            self.forgeries.append(forgery(scan, attempt.credential))
        return scan

    def _decided(self, attempt: Attempt, event: Event, fingerprint: bytes) -> Scan:
        """Decide, and keep what changes."""
        shown = self.recognition.presented(attempt)
        time = self.now
        if isinstance(shown, Presented):
            time = self._next_time((shown.ticket.event_id, shown.ticket.ticket_id))
            entry = Entry(attempt.scan_id, time, attempt.gate.location)
            decision = decide(event, attempt.gate, shown, attempt.scan_type, entry)
            if decision.admission is not None:
                self._keep(shown.ticket, decision.admission)
            ticket: Ticket | None = shown.ticket
            ticket_type = shown.ticket_type
            code = self.recognition.code(shown)
        else:
            decision, ticket, ticket_type = Decision(shown), None, None
            code = recorded_text(attempt.text)
        return Scan(
            scan_id=attempt.scan_id,
            gate_event_id=attempt.gate.event_id,
            fingerprint=fingerprint,
            code=code,
            scan_type=attempt.scan_type,
            verdict=Verdict.ADMITTED if decision.reason is None else Verdict.DENIED,
            denial_reason=decision.reason,
            ticket_id=None if ticket is None else ticket.ticket_id,
            event_id=None if ticket is None else ticket.event_id,
            ticket_type=ticket_type,
            scan_time=time,
            record_time=self.now,
            location=attempt.gate.location,
            device_id=attempt.device_id,
            scanner_user_id=attempt.scanner_user_id,
            metadata=attempt.metadata,
            previous=decision.previous,
        )

    def _next_time(self, key: store.TicketKey) -> datetime:
        """Give each scan of one ticket in a batch a later time: made anew from them, its state is to be the same."""
        last = self._times.get(key)
        time = self._times[key] = self.now if last is None else last + MICROSECOND
        return time

    def _keep(self, ticket: Ticket, admission: Admission) -> None:
        key = (ticket.event_id, ticket.ticket_id)
        self.changed[key] = admission
        self._held.tickets[key] = replace(ticket, admission=admission)
