"""What a device decided alone, against what is recorded under the same scan_id."""

from dataclasses import replace
from datetime import datetime

from ticketing.admission.scans import Scan, Verdict


def settled(recorded: Scan, shown: Scan) -> Scan:
    """Return the one record of a scan that was recorded and is uploaded, whichever was first.

    What was shown to a person stands. Where both were shown (a device that sends one decision with two clocks), the
    earlier one does, so that the order of uploads makes no difference; and what was taken back once stays so.
    """
    if not recorded.offline:
        same = (recorded.verdict, recorded.denial_reason) == (shown.verdict, shown.denial_reason)
        stands = recorded if same else shown
    else:
        stands = min(recorded, shown, key=_earlier)
    return replace(stands, annul_time=_annul_time(stands, recorded, shown))


def _earlier(scan: Scan) -> tuple[datetime, str, str, str]:
    return scan.scan_time, scan.verdict, scan.denial_reason or "", scan.location


def _annul_time(stands: Scan, *both: Scan) -> datetime | None:
    times = [scan.annul_time for scan in both if scan.annul_time is not None]
    return min(times) if times and stands.verdict is Verdict.ADMITTED else None
