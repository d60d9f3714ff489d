"""The live scans of all gates, decided in batches: one transaction, normally two round trips, answers after the commit.

A decision never uses cached tickets or events: each batch locks the events FOR SHARE and the tickets FOR UPDATE, so a
revocation comes wholly before a batch or wholly after it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from scan_service.domain.access import may_access
from scan_service.domain.incidents import IncidentScan, assign_forgery
from scan_service.domain.refusals import event_not_found, scan_id_reused
from scan_service.store import admission as store
from scan_service.store import incidents
from scan_service.use_cases.batch_locker import Answers, LockedBatch
from scan_service.use_cases.scan_counters import count_scans
from ticketing.admission.decision import Decision, PresentedTicket, decide
from ticketing.admission.groups import decide_group, is_same_group
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import Attempt, DenialReason, GroupAdmission, Scan, Verdict
from ticketing.admission.tickets import AdmissionState, CheckIn, Event, Ticket
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection

MICROSECOND: Final = timedelta(microseconds=1)


async def decide_batch(connection: LoopConnection, attempts: Sequence[Attempt], locked: LockedBatch) -> Answers:
    """Decide and record `attempts` in their order; a repeated attempt gets its first answer."""
    batch = ScanBatch(locked)
    answers = [batch.decide(attempt) for attempt in attempts]
    if batch.forgeries:
        await connection.round_trip(*incidents.add_round_trip(batch.forgeries, batch.now))
    await connection.round_trip(*store.write_and_commit(batch.now, batch.recorded, batch.changed))
    count_scans(batch.recorded)
    return answers


class ScanBatch:
    """The decisions of one batch; each decision uses the admission states that the earlier ones changed."""

    def __init__(self, locked: LockedBatch) -> None:
        self._rows = locked.rows
        self._ticket_lookup = locked.ticket_lookup
        self._times = dict[store.TicketKey, datetime]()
        self.now = locked.now
        self.recorded = list[Scan]()
        self.forgeries = list[IncidentScan]()
        self.changed = dict[store.TicketKey, AdmissionState]()

    def decide(self, attempt: Attempt) -> Scan | Failure:
        """Decide one attempt; return its record or the failure to return to the caller."""
        fingerprint = attempt.fingerprint()
        first = self._rows.scans.get(attempt.scan_id)
        if first is not None:
            if first.fingerprint == fingerprint:
                return first
            return scan_id_reused(attempt.scan_id)
        if attempt.group_count and any(further.scan_id in self._rows.scans for further in attempt.further()):
            return scan_id_reused(attempt.scan_id)
        event = self._rows.events.get(attempt.gate.event_id)
        if event is None or not may_access(attempt.organizer_id, event.organizer_id):
            return event_not_found(attempt.gate.event_id)
        scan = self._scan(attempt, event, fingerprint)
        if scan.denial_reason is DenialReason.INVALID_SIGNATURE and not self._ticket_lookup.may_be_genuine(attempt):
            forgery = assign_forgery(scan, attempt.credential)
            self.forgeries += [] if forgery is None else [forgery]
        return scan

    def _scan(self, attempt: Attempt, event: Event, fingerprint: bytes) -> Scan:
        """Decide and record one attempt, and the further tickets of its group."""
        presented = self._ticket_lookup.find(attempt)
        group = GroupAdmission(attempt.group_count) if attempt.group_count else None
        if not isinstance(presented, PresentedTicket):
            scan = self._describe(attempt, fingerprint, presented, Decision(presented), self.now)
            return self._record(scan if group is None else replace(scan, group=group))
        key = _key(presented.ticket)
        if key in self._times:
            presented = replace(presented, ticket=self._with_current_admission(presented.ticket))
        if group is not None:
            return self._scan_group(attempt, event, fingerprint, presented)
        time = self._next_time(key)
        check_in = CheckIn(attempt.scan_id, time, attempt.gate.location)
        decision = decide(event, attempt.gate, presented, attempt.scan_type, check_in)
        return self._record(self._describe(attempt, fingerprint, presented, decision, time))

    def _scan_group(self, attempt: Attempt, event: Event, fingerprint: bytes, presented: PresentedTicket) -> Scan:
        """Decide the scan of a group, all of whose tickets are locked; record each admitted ticket."""
        group = [ticket for ticket in self._rows.tickets.values() if is_same_group(ticket, presented.ticket)]
        others = [self._with_current_admission(ticket) for ticket in group]
        keys = [_key(ticket) for ticket in (presented.ticket, *others)]
        time = max(self._next_time(key) for key in keys)
        self._times.update(dict.fromkeys(keys, time))
        check_in = CheckIn(attempt.scan_id, time, attempt.gate.location)
        decided = decide_group(event, attempt.gate, presented, check_in, others=others, count=attempt.group_count)
        scan = self._describe(attempt, fingerprint, presented, decided.decision, time)
        for own, (ticket, admission) in zip(attempt.further(), decided.further, strict=False):
            further = PresentedTicket(ticket, ticket.issue, ticket.ticket_type)
            record = self._describe(own, own.fingerprint(), further, Decision(None, admission=admission), time)
            self._record(replace(record, group_scan_id=attempt.scan_id))
        return self._record(replace(scan, group=decided.group))

    def _record(self, scan: Scan) -> Scan:
        self._rows.scans[scan.scan_id] = scan
        self.recorded.append(scan)
        return scan

    def _describe(
        self,
        attempt: Attempt,
        fingerprint: bytes,
        presented: PresentedTicket | DenialReason,
        decision: Decision,
        time: datetime,
    ) -> Scan:
        """Return the record of a decision, whose admission state the batch stores."""
        if isinstance(presented, PresentedTicket):
            ticket: Ticket | None = presented.ticket
            ticket_type, issue = presented.ticket_type, presented.issue
            code = self._ticket_lookup.code(presented)
            if decision.admission is not None:
                self.changed[_key(presented.ticket)] = decision.admission
        else:
            ticket, ticket_type, issue = None, None, None
            code = sanitize_text(attempt.text)
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
            looked_up=ticket is not None and isinstance(attempt.credential, LookUpPass),
        )

    def _next_time(self, key: store.TicketKey) -> datetime:
        """Return a later time for each scan of a ticket in a batch, so that `fold_scans` keeps their order."""
        last = self._times.get(key)
        time = self._times[key] = self.now if last is None else last + MICROSECOND
        return time

    def _with_current_admission(self, ticket: Ticket) -> Ticket:
        admission = self.changed.get(_key(ticket))
        return ticket if admission is None else replace(ticket, admission=admission)


def _key(ticket: Ticket) -> store.TicketKey:
    return ticket.event_id, ticket.ticket_id
