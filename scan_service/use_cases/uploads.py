"""What devices decided alone, recorded as it was shown, and every conflict of it noted.

The end state is a function of what was uploaded, not of its order: a ticket's admission and its incidents are made anew
from all that it was ever let through by, under the same locks as a live scan.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from scan_service.domain.admission_state import admission_state
from scan_service.domain.incidents import IncidentKind, Link, conflicts, forgery, violation_of
from scan_service.domain.offline import settled
from scan_service.domain.reasons import Reason
from scan_service.store import incidents, uploads
from scan_service.store.admission import TicketKey
from scan_service.use_cases.batch_locker import Answers, LockedBatch
from ticketing.admission.decision import Presented
from ticketing.admission.scans import Attempt, DenialReason, Offline, Scan, Verdict, recorded_text
from ticketing.admission.tickets import Admission, Event
from ticketing.chassis.failures import Failure, dependency_unavailable
from ticketing.chassis.loop_connection import LoopConnection

# Recorded before the loop is given back to those who wait at a gate.
SLICE: Final = 16


async def record(connection: LoopConnection, attempts: Sequence[Attempt], holding: LockedBatch) -> Answers:
    """Record `attempts`, each with `offline`; one that was recorded before is settled with its record."""
    batch = Batch(holding)
    answers = list[UUID | Failure]()
    for attempt in attempts:
        if len(answers) % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        answers.append(batch.record(attempt))
    before = uploads.admitted(await connection.round_trip(*uploads.read_admitted(batch.touched)))
    known, links = batch.outcome(before)
    statements, arguments = uploads.write(
        batch.now, [*batch.new.values()], [*batch.replaced.values()], batch.admission_state
    )
    if known or links:
        # For scans of an uneventful night, three statements less.
        renew, renewed = incidents.renew(known, links, batch.now)
        statements, arguments = f"{statements}; {renew}", (*arguments, *renewed)
    await connection.round_trip(f"{statements}; COMMIT", arguments)
    # The last word on each: an upload may hold one scan twice.
    return [answer if isinstance(answer, Failure) else batch.scan(answer) for answer in answers]


class Batch:
    """What a batch of offline scans makes of what one transaction holds."""

    def __init__(self, holding: LockedBatch) -> None:
        self._held = holding.held
        self._ticket_lookup = holding.ticket_lookup
        self._forgeries = list[Link]()
        self.now = holding.now
        self.new = dict[UUID, Scan]()
        self.replaced = dict[UUID, Scan]()
        self.admission_state = dict[TicketKey, Admission]()
        # Tickets whose past has changed, by the gate's event.
        self.touched = set[TicketKey]()

    def scan(self, scan_id: UUID) -> Scan:
        """Return the record of a scan."""
        return self._held.scans[scan_id]

    def record(self, attempt: Attempt) -> UUID | Failure:
        """Keep one scan; return its id, or why it cannot be taken."""
        event = self._held.events.get(attempt.gate.event_id)
        if event is None or attempt.organizer_id not in {None, event.organizer_id}:
            return Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=attempt.gate.event_id)
        recorded = self._held.scans.get(attempt.scan_id)
        if recorded is not None and not _is_same(recorded, attempt):
            return Failure(Reason.SCAN_ID_REUSED, "this scan_id was used for a different scan", scan_id=attempt.scan_id)
        shown = self._ticket_lookup.presented(attempt)
        if shown is DenialReason.INVALID_SIGNATURE and self._ticket_lookup.may_be_genuine(attempt):
            # Judged once and for all, so not before the keys have come; the device keeps it, and nobody stands there.
            return dependency_unavailable("ticket service")
        scan = self._shown(attempt, shown, event)
        if recorded is None:
            self.new[scan.scan_id] = scan
        else:
            scan = settled(recorded, scan)
            if scan == recorded:
                return scan.scan_id
            kept = self.new if scan.scan_id in self.new else self.replaced
            kept[scan.scan_id] = scan
        self._held.scans[scan.scan_id] = scan
        if scan.ticket_id is not None:
            self.touched.add((scan.gate_event_id, scan.ticket_id))
        return scan.scan_id

    def outcome(self, before: Sequence[Scan]) -> tuple[Sequence[Scan], Sequence[Link]]:
        """Return the scans that may belong to incidents so far, and those that all belong to from now on.

        Args:
            before: what the tickets that were touched had been let through by.
        """
        changed = self.new | self.replaced
        scans = {scan.scan_id: scan for scan in before} | changed
        of_ticket = defaultdict[TicketKey | None, list[Scan]](list)
        for scan in scans.values():
            of_ticket[None if scan.ticket_id is None else (scan.gate_event_id, scan.ticket_id)].append(scan)
        links = [link for link in self._forgeries if link.scan_id in changed]
        for key, its_scans in of_ticket.items():
            # Without a row where the ticket is for another event.
            ticket = None if key is None else self._held.tickets.get(key)
            links += conflicts(None if ticket is None else self._held.events[ticket.event_id].policy, its_scans)
            if key is not None and ticket is not None:
                admission = admission_state(its_scans, ticket.admission)
                if admission != ticket.admission:
                    self.admission_state[key] = admission
        return [scan for scan in scans.values() if scan.scan_id not in self.new], links

    def _shown(self, attempt: Attempt, shown: Presented | DenialReason, event: Event) -> Scan:
        """Make the record of what the device showed."""
        decision = _decision(attempt)
        violation = violation_of(event, attempt, shown, decision.scan_time)
        known = isinstance(shown, Presented)
        scan = Scan(
            scan_id=attempt.scan_id,
            gate_event_id=attempt.gate.event_id,
            fingerprint=attempt.fingerprint(),
            code=self._ticket_lookup.code(shown) if isinstance(shown, Presented) else recorded_text(attempt.text),
            scan_type=attempt.scan_type,
            verdict=decision.verdict,
            denial_reason=decision.denial_reason,
            ticket_id=shown.ticket.ticket_id if isinstance(shown, Presented) else None,
            event_id=shown.ticket.event_id if isinstance(shown, Presented) else None,
            ticket_type=shown.ticket_type if isinstance(shown, Presented) else None,
            issue=shown.issue if isinstance(shown, Presented) else None,
            scan_time=decision.scan_time,
            record_time=self.now,
            location=attempt.gate.location,
            device_id=attempt.device_id,
            scanner_user_id=attempt.scanner_user_id,
            metadata=attempt.metadata,
            offline=True,
            annul_time=decision.annul_time if decision.verdict is Verdict.ADMITTED else None,
            violation=violation,
        )
        if not known and violation is IncidentKind.FORGED_TOKEN:
            self._forgeries.append(forgery(scan, attempt.credential))
        return scan


def _decision(attempt: Attempt) -> Offline:
    if attempt.offline is None:
        raise AssertionError("only what was decided offline is uploaded")
    return attempt.offline


def _is_same(recorded: Scan, attempt: Attempt) -> bool:
    """Tell whether it is the same scan; another person may be signed in by the time that a device uploads it."""
    by = replace(attempt, scanner_user_id=recorded.scanner_user_id)
    return recorded.fingerprint == by.fingerprint()
