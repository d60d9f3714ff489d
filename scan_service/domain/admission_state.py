"""How a ticket's admission stands: a fold over what its gates let through, in the order in which it was at the doors.

A scan that is annulled, or that comes in hours later from a device that was offline, changes the past. So the state is
made anew from all of them; a live scan, which is always the last one, comes to the same by taking one step.
"""

from collections.abc import Iterable, Sequence

from ticketing.admission.scans import Scan, ScanType, Verdict
from ticketing.admission.tickets import Admission, Entry


def passed(scans: Iterable[Scan]) -> Sequence[Scan]:
    """Return the scans that let somebody pass, in the order of the doors; equal times by scan_id."""
    through = (scan for scan in scans if scan.verdict is Verdict.ADMITTED and scan.annul_time is None)
    return sorted(through, key=lambda scan: (scan.scan_time, scan.scan_id))


def admission_state(scans: Iterable[Scan], before: Admission) -> Admission:
    """Fold all of a ticket's scans.

    Args:
        scans: of one ticket, in any order; denied and annulled ones count for nothing.
        before: how the admission stood, for its sequence.
    """
    first: Entry | None = None
    latest: Entry | None = None
    inside = False
    for scan in passed(scans):
        if scan.scan_type is ScanType.CHECK_IN:
            latest = Entry(scan.scan_id, scan.scan_time, scan.location)
            first = first or latest
            inside = True
        elif scan.scan_type is ScanType.CHECK_OUT:
            inside = False
    check_in_time = None if first is None else first.time
    changed = check_in_time != before.check_in_time
    return Admission(check_in_time, latest, inside, before.sequence + changed)
