"""The scans of all gates, answered in batches: one transaction in two trips, and nothing is answered before its commit.

Status and rules are never judged from memory: the event is shared-locked and the ticket locked, each time, so that a
revocation comes wholly before a batch or wholly after it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from scan_service.domain.incidents import Link, forgery
from scan_service.domain.reasons import Reason
from scan_service.store import admission as store
from scan_service.store import incidents
from scan_service.use_cases.batch_locker import Answers, LockedBatch
from ticketing.admission.decision import Decision, Presented, decide
from ticketing.admission.scans import Attempt, DenialReason, Scan, Verdict, recorded_text
from ticketing.admission.tickets import Admission, Entry, Event, Ticket
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection

MICROSECOND: Final = timedelta(microseconds=1)


async def answer(connection: LoopConnection, attempts: Sequence[Attempt], holding: LockedBatch) -> Answers:
    """Decide and record `attempts` in their order; an attempt seen before gets its first answer."""
    batch = Batch(holding)
    answers = [batch.answer(attempt) for attempt in attempts]
    if batch.forgeries:
        await connection.round_trip(*incidents.note(batch.forgeries, batch.now))
    await connection.round_trip(*store.write(batch.now, batch.recorded, batch.changed))
    return answers


class Batch:
    """The decisions over what one transaction holds; each is made against the state after the one before."""

    def __init__(self, holding: LockedBatch) -> None:
        self._held = holding.held
        self._ticket_lookup = holding.ticket_lookup
        self._times = dict[store.TicketKey, datetime]()
        self.now = holding.now
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
        if scan.denial_reason is DenialReason.INVALID_SIGNATURE and not self._ticket_lookup.may_be_genuine(attempt):
            self.forgeries.append(forgery(scan, attempt.credential))
        return scan

    def _decided(self, attempt: Attempt, event: Event, fingerprint: bytes) -> Scan:
        """Decide, and keep what changes."""
        shown = self._ticket_lookup.presented(attempt)
        time = self.now
        if isinstance(shown, Presented):
            shown = self._as_it_stands(shown)
            time = self._next_time((shown.ticket.event_id, shown.ticket.ticket_id))
            entry = Entry(attempt.scan_id, time, attempt.gate.location)
            decision = decide(event, attempt.gate, shown, attempt.scan_type, entry)
            if decision.admission is not None:
                self.changed[shown.ticket.event_id, shown.ticket.ticket_id] = decision.admission
            ticket: Ticket | None = shown.ticket
            ticket_type, issue = shown.ticket_type, shown.issue
            code = self._ticket_lookup.code(shown)
        else:
            decision, ticket, ticket_type, issue = Decision(shown), None, None, None
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
            issue=issue,
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

    def _as_it_stands(self, shown: Presented) -> Presented:
        """Return what was shown with what this batch has made of it so far."""
        admission = self.changed.get((shown.ticket.event_id, shown.ticket.ticket_id))
        if admission is None:
            return shown
        return replace(shown, ticket=replace(shown.ticket, admission=admission))
