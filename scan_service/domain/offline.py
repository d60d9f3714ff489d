"""The merge of an offline decision with the scan that is recorded under the same scan_id."""

from dataclasses import replace
from datetime import datetime

from ticketing.admission.scans import Scan, Verdict


def merge_records(recorded: Scan, uploaded: Scan) -> Scan:
    """Merge a recorded scan with an upload of the same scan_id.

    The decision that the device showed to the person prevails. Where both are uploads (a device sends one decision with
    two clock offsets), the earlier one prevails, so that the order of uploads makes no difference. An annulment in
    either record remains.
    """
    if not recorded.offline:
        same = (recorded.verdict, recorded.denial_reason) == (uploaded.verdict, uploaded.denial_reason)
        merged = recorded if same else uploaded
    else:
        merged = min(recorded, uploaded, key=_order)
    times = [scan.annul_time for scan in (recorded, uploaded) if scan.annul_time is not None]
    return replace(merged, annul_time=min(times) if times and merged.verdict is Verdict.ADMITTED else None)


def _order(scan: Scan) -> tuple[datetime, str, str, str]:
    return scan.scan_time, scan.verdict, scan.denial_reason or "", scan.location
