"""The scans of all gates, answered in batches: one transaction in two trips, and nothing is answered before its commit.

Status and rules are never judged from memory: the event is shared-locked and the ticket locked, each time, so that a
revocation comes wholly before a batch or wholly after it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from chassis.clock import Clock
from chassis.failures import Failure
from chassis.loop_connection import LoopConnection
from scan_service.domain.admission import Decision, Presented, decide
from scan_service.domain.codes import Codes
from scan_service.domain.reasons import Reason
from scan_service.domain.scans import Attempt, DenialReason, Scan, Verdict, recorded_text
from scan_service.domain.tickets import Admission, Entry, Event, Ticket, TicketStatus
from scan_service.domain.tokens import Damaged, Token, is_genuine
from scan_service.keys import Keys
from scan_service.store import admission as store


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
            if unknown := batch.unknown(attempts):
                await connection.trip(*store.create(unknown))
                batch = await self._hold(connection, wanted)
            answers = [batch.answer(attempt) for attempt in attempts]
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
        self._keys = keys
        self._codes = codes
        self._genuine = dict[bytes, bool]()
        self.now = now
        self.recorded = list[Scan]()
        self.changed = dict[store.TicketKey, Admission]()

    def unknown(self, attempts: Sequence[Attempt]) -> Sequence[Ticket]:
        """Return the tickets that genuine tokens for their own event's gate prove, and that have no row yet."""
        result = dict[store.TicketKey, Ticket]()
        for attempt in attempts:
            token = attempt.credential
            if not isinstance(token, Token) or token.event_id != attempt.gate.event_id:
                continue
            key = (token.event_id, token.ticket_id)
            if key not in self._held.tickets and token.event_id in self._held.events and self._is_genuine(token, None):
                result[key] = self._proven(token)
        return list(result.values())

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
        return scan

    def _decided(self, attempt: Attempt, event: Event, fingerprint: bytes) -> Scan:
        """Decide, and keep what changes."""
        shown = self._presented(attempt)
        if isinstance(shown, Presented):
            entry = Entry(attempt.scan_id, self.now, attempt.gate.location)
            decision = decide(event, attempt.gate, shown, attempt.scan_type, entry)
            if decision.admission is not None:
                self._keep(shown.ticket, decision.admission)
            ticket: Ticket | None = shown.ticket
            ticket_type = shown.ticket_type
            code = self._codes.code(shown.ticket.ticket_id, shown.issue)
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
            scan_time=self.now,
            record_time=self.now,
            location=attempt.gate.location,
            scanner_user_id=attempt.scanner_user_id,
            metadata=attempt.metadata,
            previous=decision.previous,
        )

    def _presented(self, attempt: Attempt) -> Presented | DenialReason:
        credential = attempt.credential
        if isinstance(credential, Token):
            ticket = self._held.tickets.get((credential.event_id, credential.ticket_id))
            if not self._is_genuine(credential, None if ticket is None else ticket.token_digest):
                return DenialReason.INVALID_SIGNATURE
            # Without a row only where it is for another event's gate.
            return Presented(ticket or self._proven(credential), credential.issue, credential.ticket_type)
        if isinstance(credential, Damaged):
            return DenialReason.INVALID_SIGNATURE
        key = credential and self._held.keys_by_code.get(credential)
        if not key:
            return DenialReason.TICKET_NOT_FOUND
        ticket = self._held.tickets[key]
        return Presented(ticket, ticket.issue, ticket.ticket_type)

    def _is_genuine(self, token: Token, known_digest: bytes | None) -> bool:
        genuine = self._genuine.get(token.digest)
        if genuine is None:
            genuine = is_genuine(token, known_digest, self._keys.get(token.key_id), self.now)
            self._genuine[token.digest] = genuine
        return genuine

    def _proven(self, token: Token) -> Ticket:
        code = self._codes.code(token.ticket_id, token.issue)
        return Ticket(
            event_id=token.event_id,
            ticket_id=token.ticket_id,
            ticket_type=token.ticket_type,
            status=TicketStatus.ACTIVE,
            valid_from_time=None,
            valid_until_time=None,
            issue=token.issue,
            code_digest=self._codes.digest(code),
            token_digest=None,
        )

    def _keep(self, ticket: Ticket, admission: Admission) -> None:
        key = (ticket.event_id, ticket.ticket_id)
        self.changed[key] = admission
        self._held.tickets[key] = replace(ticket, admission=admission)
