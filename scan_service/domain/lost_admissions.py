"""Lost admissions: what becomes of a ticket whose check-in the ticket service knows better than this database.

The ticket service has the time of the first check-in in effect of each ticket, and the number of its changes. After a
restore of the scans database its report may be newer than the scans here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid5

from scan_service.domain.admission_state import fold_scans, is_effective
from scan_service.domain.annulment import settle_annulments
from scan_service.domain.recoveries import MARGIN
from ticketing.admission.codes import Codes
from ticketing.admission.scans import NO_FINGERPRINT, Scan, ScanType, Verdict
from ticketing.admission.tickets import AdmissionState, Ticket


@dataclass(frozen=True, slots=True)
class ReportedCheckIn:
    """The check-in of a ticket as the ticket service has it."""

    event_id: UUID
    ticket_id: UUID
    # None: no check-in is in effect.
    check_in_time: datetime | None
    # The number of changes of the check-in.
    sequence: int

    def may_be_lost(self, known: AdmissionState) -> bool:
        """Return whether the report may contain something that this database lacks."""
        return self.check_in_time != known.check_in_time or self.sequence > known.sequence


@dataclass(frozen=True, slots=True)
class Mended:
    """The scans and the admission state of a ticket after a report was taken back."""

    # All scans of the ticket, with the recovered one.
    scans: Sequence[Scan]
    admission: AdmissionState
    recovered: Scan | None
    # The check-ins that were annulled before, and are again.
    annulled: Sequence[Scan]


def mend(  # noqa: PLR0913 - a ticket with its scans, and keywords
    ticket: Ticket, scans: Sequence[Scan], reported: ReportedCheckIn, *, since: datetime, now: datetime, codes: Codes
) -> Mended:
    """Take a reported check-in back, or an annulment; `scans` are all admitted ones of the ticket.

    A scan that this database has, annulled or not, is never taken back a second time. A check-in that was recorded
    before `since` and is not reported any more was annulled since then.
    """
    known, time = ticket.admission, reported.check_in_time
    is_behind = reported.sequence > known.sequence
    recovered = None
    if time is not None and (is_behind or time >= since - MARGIN) and not any(_is_at(scan, time) for scan in scans):
        recovered = recover_check_in(ticket, time, now, codes)
    annulled = [
        replace(scan, annul_time=now, claimed_annul_time=None)
        for scan in scans
        if is_behind
        and _is_check_in(scan)
        and is_effective(scan)
        and scan.record_time <= since
        and (time is None or scan.scan_time < time)
    ]
    changed = {scan.scan_id: scan for scan in annulled}
    merged = [changed.get(scan.scan_id, scan) for scan in scans] + ([] if recovered is None else [recovered])
    # Without the annulled scans, the claimed annulment of an earlier one may be that of the latest.
    settled = settle_annulments(merged)
    admission = fold_scans(settled, known)
    sequence = max(known.sequence, reported.sequence)
    if admission.check_in_time != time or (known.sequence >= reported.sequence and (recovered or annulled)):
        # The next report has to be newer than both.
        sequence += 1
    return Mended(settled, replace(admission, sequence=sequence), recovered, annulled)


def recover_check_in(ticket: Ticket, time: datetime, now: datetime, codes: Codes) -> Scan:
    """Return the record of a check-in of which only the time is known, under the same id whenever it is made."""
    return Scan(
        scan_id=uuid5(ticket.ticket_id, f"recovered/{time.isoformat()}"),
        gate_event_id=ticket.event_id,
        fingerprint=NO_FINGERPRINT,
        code=codes.code(ticket.ticket_id, ticket.issue),
        scan_type=ScanType.CHECK_IN,
        verdict=Verdict.ADMITTED,
        denial_reason=None,
        ticket_id=ticket.ticket_id,
        event_id=ticket.event_id,
        ticket_type=ticket.ticket_type,
        issue=ticket.issue,
        scan_time=time,
        record_time=now,
        location="",
        scanner_user_id="",
        metadata={},
        # A later check-in of the ticket is a double admission, as with an offline device.
        offline=True,
    )


def replace_recovered(scans: Sequence[Scan]) -> tuple[Sequence[Scan], Sequence[Scan]]:
    """Replace the recovered check-ins of a ticket whose own scans a gate has sent again.

    Return the remaining scans, and the recovered ones that are replaced. The annulment of a recovered one is that of the
    scan itself.
    """
    own_times = {scan.scan_time for scan in scans if _is_check_in(scan) and not scan.is_recovered}
    replaced = {scan.scan_time: scan for scan in scans if scan.is_recovered and scan.scan_time in own_times}
    kept = [
        replace(scan, annul_time=annulled.annul_time, claimed_annul_time=None)
        if (annulled := replaced.get(scan.scan_time)) is not None
        and annulled.annul_time is not None
        and is_effective(scan)
        and _is_check_in(scan)
        else scan
        for scan in scans
        if scan not in replaced.values()
    ]
    return kept, list(replaced.values())


def _is_check_in(scan: Scan) -> bool:
    return scan.scan_type is ScanType.CHECK_IN and scan.verdict is Verdict.ADMITTED


def _is_at(scan: Scan, time: datetime) -> bool:
    return _is_check_in(scan) and scan.scan_time == time
