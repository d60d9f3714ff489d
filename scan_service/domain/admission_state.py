"""The admission state of a ticket: a fold over its effective scans, ordered by the time at the gate.

A scan is effective if it was admitted and is not annulled. A check-out that was denied because no check-in was recorded
is effective too, once an upload contains the check-in: the person has left. An annulment, or an upload hours after the
event, changes the past, so the state is computed again from all scans of the ticket. A live scan is always the latest
one, so `ticketing.admission.decision` computes the same state for it in one step.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from ticketing.admission.scans import DenialReason, Scan, ScanType, Verdict
from ticketing.admission.tickets import AdmissionState, CheckIn


def order_of(scan: Scan) -> tuple[datetime, UUID]:
    """Return the key that orders the scans of a ticket: the time at the gate, then the scan_id."""
    return scan.scan_time, scan.scan_id


def is_effective(scan: Scan) -> bool:
    """Return whether a scan was admitted and is not annulled."""
    return scan.verdict is Verdict.ADMITTED and scan.annul_time is None


def is_denied_exit(scan: Scan) -> bool:
    """Return whether a check-out was denied because the ticket was not checked in."""
    return scan.scan_type is ScanType.CHECK_OUT and scan.denial_reason is DenialReason.NOT_CHECKED_IN


def select_effective(scans: Iterable[Scan]) -> Sequence[Scan]:
    """Return the effective scans in their order, among them the denied exits of a person who was inside."""
    effective, inside = list[Scan](), False
    for scan in sorted(scans, key=order_of):
        if is_effective(scan) or (inside and is_denied_exit(scan)):
            effective.append(scan)
            if scan.scan_type is not ScanType.ACCESS:
                inside = scan.scan_type is ScanType.CHECK_IN
    return effective


def fold_scans(scans: Iterable[Scan], before: AdmissionState) -> AdmissionState:
    """Compute the admission state of a ticket from all of its scans, in any order; `before` has the sequence so far."""
    first: CheckIn | None = None
    latest: CheckIn | None = None
    inside = False
    for scan in select_effective(scans):
        if scan.scan_type is ScanType.CHECK_IN:
            latest = CheckIn(scan.scan_id, scan.scan_time, scan.location)
            first = first or latest
            inside = True
        elif scan.scan_type is ScanType.CHECK_OUT:
            inside = False
    check_in_time = None if first is None else first.time
    changed = check_in_time != before.check_in_time
    return AdmissionState(check_in_time, latest, inside, before.sequence + changed)
