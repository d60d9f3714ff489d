"""Uploads: offline decisions, recorded as the device showed them, with one incident per ticket and kind of conflict.

The end state is a function of the uploaded scans, not of their order: the admission state and the incidents of a
ticket are computed again from all of its scans, under the same locks as a live scan.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from scan_service.domain.access import may_access
from scan_service.domain.admission_state import fold_scans
from scan_service.domain.annulment import settle_annulments
from scan_service.domain.incidents import IncidentKind, IncidentScan, assign_conflicts, assign_forgery, find_violation
from scan_service.domain.lost_admissions import replace_recovered
from scan_service.domain.offline import merge_records
from scan_service.domain.refusals import event_not_found, scan_id_reused
from scan_service.domain.scan_times import settle_times
from scan_service.store import incidents, uploads
from scan_service.store.admission import TicketKey
from scan_service.use_cases.batch_locker import Answers, LockedBatch
from scan_service.use_cases.scan_counters import count_uploads
from ticketing.admission.decision import PresentedTicket
from ticketing.admission.groups import is_same_group
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import Attempt, DenialReason, GroupAdmission, OfflineDecision, Scan, Verdict
from ticketing.admission.tickets import AdmissionState, Event, Ticket
from ticketing.chassis.failures import Failure, dependency_unavailable, invalid
from ticketing.chassis.loop_connection import LoopConnection

# The number of scans that are processed before the event loop runs other tasks: live scans wait for the whole slice.
SLICE: Final = 16


async def record_batch(connection: LoopConnection, attempts: Sequence[Attempt], locked: LockedBatch) -> Answers:
    """Record `attempts`, each with an offline decision; merge those that are recorded already."""
    batch = UploadBatch(locked)
    answers = list[UUID | Failure]()
    for attempt in attempts:
        if len(answers) % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        answers.append(batch.record(attempt))
    before = uploads.read_history(await connection.round_trip(*uploads.history_round_trip(batch.touched)))
    known, assigned = await batch.assign(before)
    statements, arguments = uploads.write_round_trip(
        batch.now, [*batch.new.values()], [*batch.replaced.values()], batch.removed, batch.changed
    )
    if known or assigned:
        # A batch without incidents and without earlier scans skips the three statements of the reassignment.
        reassign, rows = incidents.reassign_round_trip(known, assigned, batch.now)
        statements, arguments = f"{statements}; {reassign}", (*arguments, *rows)
    await connection.round_trip(f"{statements}; COMMIT", arguments)
    count_uploads(batch.new.values())
    # An upload may contain one scan twice, so the records are read from the batch at the end.
    return [answer if isinstance(answer, Failure) else batch.scan(answer) for answer in answers]


class UploadBatch:
    """The records, admission states and incidents of one batch of offline scans."""

    def __init__(self, locked: LockedBatch) -> None:
        self._rows = locked.rows
        self._ticket_lookup = locked.ticket_lookup
        self._forgeries = list[IncidentScan]()
        self.now = locked.now
        self.new = dict[UUID, Scan]()
        self.replaced = dict[UUID, Scan]()
        # The recovered check-ins whose own scans this batch has.
        self.removed = list[Scan]()
        self.changed = dict[TicketKey, AdmissionState]()
        # The tickets whose scans changed, each with the event of the gate.
        self.touched = set[TicketKey]()

    def scan(self, scan_id: UUID) -> Scan:
        """Return the record of a scan."""
        return self._rows.scans[scan_id]

    def record(self, attempt: Attempt) -> UUID | Failure:
        """Record one scan; return its id or the failure to return to the caller."""
        event = self._rows.events.get(attempt.gate.event_id)
        if event is None or not may_access(attempt.organizer_id, event.organizer_id):
            return event_not_found(attempt.gate.event_id)
        recorded = self._rows.scans.get(attempt.scan_id)
        if recorded is not None and not _is_same(recorded, attempt):
            return scan_id_reused(attempt.scan_id)
        presented = self._ticket_lookup.find(attempt)
        if presented is DenialReason.INVALID_SIGNATURE and self._ticket_lookup.may_be_genuine(attempt):
            # A record is final. Reject the scan until the keys are fetched; the device uploads it again.
            return dependency_unavailable("ticket service")
        further = self._find_further(attempt, presented)
        if isinstance(further, Failure):
            return further
        self._save(recorded, self._scan(attempt, presented, event, recorded))
        for own, ticket in further:
            recorded = self._rows.scans.get(own.scan_id)
            scan = self._scan(own, ticket, event, recorded)
            self._save(recorded, replace(scan, group_scan_id=attempt.scan_id))
        return attempt.scan_id

    def _save(self, recorded: Scan | None, scan: Scan) -> None:
        """Record a scan, or merge it with its record."""
        if recorded is None:
            self.new[scan.scan_id] = scan
        else:
            scan = merge_records(recorded, scan, counted=scan.scan_id not in self.new)
            if scan == recorded:
                return
            target = self.new if scan.scan_id in self.new else self.replaced
            target[scan.scan_id] = scan
        self._rows.scans[scan.scan_id] = scan
        if scan.ticket_id is not None:
            self.touched.add((scan.gate_event_id, scan.ticket_id))

    def _find_further(
        self, attempt: Attempt, presented: PresentedTicket | DenialReason
    ) -> Sequence[tuple[Attempt, PresentedTicket]] | Failure:
        """Find the further tickets of a group: those that are recorded or else those that the device names.

        The record of a live scan may have others than the device admitted without its answer: as many people entered.
        """
        if not attempt.group_count:
            return ()
        named = () if attempt.offline is None else attempt.offline.group_ticket_ids
        found = list[tuple[Attempt, Ticket | None]]()
        for own in attempt.further():
            recorded = self._rows.scans.get(own.scan_id)
            if recorded is not None and not _is_same(recorded, own):
                return scan_id_reused(attempt.scan_id)
            ticket_id = recorded.ticket_id if recorded is not None else next(iter(named[own.group_index - 1 :]), None)
            if ticket_id is not None:
                found.append((own, self._rows.tickets.get((attempt.gate.event_id, ticket_id))))
        tickets = [ticket for _, ticket in found]
        scanned = [presented.ticket] if isinstance(presented, PresentedTicket) else []
        purchases = {None if ticket is None else ticket.purchase_id for ticket in (*tickets, *scanned)}
        if tickets and None in purchases:
            # The feed has not delivered all of them. The device uploads the scan again.
            return dependency_unavailable("ticket service")
        further = [(own, ticket) for own, ticket in found if ticket is not None]
        if not all(is_same_group(ticket, one) for one in scanned for _, ticket in further) or len(purchases) > 1:
            return invalid("offline.group_ticket_ids", "holds tickets that are not of the scanned ticket's group")
        return [(own, PresentedTicket(one, one.issue, one.ticket_type, by_token=True)) for own, one in further]

    async def assign(self, before: Sequence[Scan]) -> tuple[Sequence[Scan], Sequence[IncidentScan]]:
        """Compute the admission states of the touched tickets, whose scans so far are `before`.

        Return the scans whose assignments to incidents are replaced, and the new assignments.
        """
        changed = self.new | self.replaced
        scans = {scan.scan_id: scan for scan in before} | changed
        scans_by_ticket = dict[TicketKey | None, list[Scan]]()
        for scan in scans.values():
            ticket_key = None if scan.ticket_id is None else (scan.gate_event_id, scan.ticket_id)
            scans_by_ticket.setdefault(ticket_key, []).append(scan)
        assigned = [forgery for forgery in self._forgeries if forgery.scan_id in changed]
        for index, (key, unsettled) in enumerate(scans_by_ticket.items()):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            ticket_scans = self._settle(key, self._without_recovered(unsettled))
            # A ticket for another event has no row.
            ticket = None if key is None else self._rows.tickets.get(key)
            event = None if ticket is None else self._rows.events[ticket.event_id]
            assigned += assign_conflicts(event, ticket_scans)
            if key is not None and ticket is not None:
                admission = fold_scans(ticket_scans, ticket.admission)
                if admission != ticket.admission:
                    self.changed[key] = admission
        # The scans of the history, and records that were replaced without a ticket.
        known = {scan.scan_id: scan for scan in before} | self.replaced
        return [*known.values()], assigned

    def _without_recovered(self, scans: Sequence[Scan]) -> Sequence[Scan]:
        """Remove the recovered check-ins whose own scans were sent again."""
        if not any(scan.is_recovered for scan in scans):
            return scans
        kept, removed = replace_recovered(scans)
        self.removed += removed
        for scan in kept:
            if scan not in scans:
                self._change(scan)
        return kept

    def _change(self, scan: Scan) -> None:
        target = self.new if scan.scan_id in self.new else self.replaced
        target[scan.scan_id] = self._rows.scans[scan.scan_id] = scan

    def _settle(self, key: TicketKey | None, scans: Sequence[Scan]) -> Sequence[Scan]:
        """Decide the claimed annulments of the scans of one ticket; scans without a ticket do not belong together."""
        if all(scan.claimed_annul_time is None for scan in scans):
            return scans
        groups = [[scan] for scan in scans] if key is None else [scans]
        settled = [scan for group in groups for scan in settle_annulments(group)]
        for before, scan in zip(sorted(scans, key=_id), sorted(settled, key=_id), strict=True):
            if scan.annul_time != before.annul_time:
                self._change(scan)
        return settled

    def _scan(
        self, attempt: Attempt, presented: PresentedTicket | DenialReason, event: Event, recorded: Scan | None
    ) -> Scan:
        if attempt.offline is None:
            raise AssertionError("an uploaded scan has an offline decision")
        decision, is_doubtful = settle_times(attempt.offline, self.now, recorded)
        violation = find_violation(event, attempt, presented, decision.scan_time)
        ticket = presented if isinstance(presented, PresentedTicket) else None
        scan = Scan(
            scan_id=attempt.scan_id,
            gate_event_id=attempt.gate.event_id,
            fingerprint=attempt.fingerprint(),
            code=sanitize_text(attempt.text) if ticket is None else self._ticket_lookup.code(ticket),
            scan_type=attempt.scan_type,
            verdict=decision.verdict,
            denial_reason=decision.denial_reason,
            ticket_id=None if ticket is None else ticket.ticket.ticket_id,
            event_id=None if ticket is None else ticket.ticket.event_id,
            ticket_type=None if ticket is None else ticket.ticket_type,
            issue=None if ticket is None else ticket.issue,
            scan_time=decision.scan_time,
            record_time=self.now,
            location=attempt.gate.location,
            device_id=attempt.device_id,
            scanner_user_id=attempt.scanner_user_id,
            metadata=attempt.metadata,
            offline=True,
            claimed_annul_time=self._claim(decision),
            violation=violation,
            doubtful_time=is_doubtful,
            looked_up=ticket is not None and isinstance(attempt.credential, LookUpPass),
            group=_group_of(attempt, decision, ticket),
        )
        if ticket is None and violation is IncidentKind.FORGED_TOKEN:
            forgery = assign_forgery(scan, attempt.credential)
            self._forgeries += [] if forgery is None else [forgery]
        return scan

    def _claim(self, decision: OfflineDecision) -> datetime | None:
        """Return the time of the annulment; a fast clock of the device cannot put it after later scans."""
        if decision.verdict is Verdict.DENIED or decision.annul_time is None:
            return None
        return min(decision.annul_time, self.now)


def _group_of(attempt: Attempt, decision: OfflineDecision, presented: PresentedTicket | None) -> GroupAdmission | None:
    if not attempt.group_count or attempt.group_index:
        return None
    scanned = () if presented is None else (presented.ticket.ticket_id,)
    admitted = decision.verdict is Verdict.ADMITTED
    return GroupAdmission(attempt.group_count, (*scanned, *decision.group_ticket_ids) if admitted else ())


def _id(scan: Scan) -> UUID:
    return scan.scan_id


def _is_same(recorded: Scan, attempt: Attempt) -> bool:
    # The comparison ignores the user: another person may be signed in when the device uploads the scan. An erased scan
    # does not name the person who scanned, so it is recognised only if that person uploads it.
    of_recorded = replace(attempt, scanner_user_id=recorded.scanner_user_id)
    return recorded.fingerprint in {of_recorded.fingerprint(), attempt.fingerprint()}
