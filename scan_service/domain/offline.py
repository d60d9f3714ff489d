"""The merge of an offline decision with the scan that is recorded under the same scan_id."""

from dataclasses import replace
from datetime import datetime

from scan_service.domain.admission_state import is_effective
from scan_service.domain.annulment import WINDOW
from scan_service.domain.incidents import IncidentKind
from ticketing.admission.scans import Scan, Verdict


def merge_records(recorded: Scan, uploaded: Scan, *, counted: bool) -> Scan:
    """Merge a recorded scan with an upload of the same scan_id.

    The decision that the device showed to the person prevails. Where both are uploads (a device sends one decision with
    two clock offsets), the earlier one prevails, so that the order of uploads makes no difference. An annulment in
    either record remains.

    With `counted`, the recorded scan is durable: while it is in effect, a cancellation may have been refused because
    of it. Then the upload takes it back only within the limits of AnnulScan. A denial may come from another person: the
    one who is signed in at the device when it uploads.
    """
    if not recorded.offline:
        same = (recorded.verdict, recorded.denial_reason) == (uploaded.verdict, uploaded.denial_reason)
        merged = recorded if same else uploaded
    else:
        merged = min(recorded, uploaded, key=_order)
    counts = counted and is_effective(recorded)
    denies = merged.verdict is Verdict.DENIED
    annuls = uploaded.claimed_annul_time is not None
    if counts and ((denies and not _is_soon(recorded, uploaded)) or (annuls and not _is_own(recorded, uploaded))):
        return replace(recorded, violation=recorded.violation or IncidentKind.INVALID_ANNULMENT)
    if denies:
        return replace(merged, annul_time=None, claimed_annul_time=None)
    if recorded.annul_time is not None and recorded.claimed_annul_time is None:
        # AnnulScan annulled it.
        return replace(merged, annul_time=recorded.annul_time, claimed_annul_time=None)
    claim = uploaded.claimed_annul_time
    if claim is not None and counts:
        # The annulment takes effect when it arrives, as that of AnnulScan does.
        claim = max(claim, uploaded.record_time)
    claim = _merge_claims(recorded, uploaded, claim)
    # `settle_annulments` decides about a new claim.
    annul_time = recorded.annul_time if claim == recorded.claimed_annul_time else None
    return replace(merged, annul_time=annul_time, claimed_annul_time=claim)


def _merge_claims(recorded: Scan, uploaded: Scan, claim: datetime | None) -> datetime | None:
    before = recorded.claimed_annul_time
    if before is None or claim is None:
        return before or claim
    # A repeated upload does not change the time at which the first one took effect.
    return before if recorded.scan_time == uploaded.scan_time else max(before, claim)


def _is_own(recorded: Scan, uploaded: Scan) -> bool:
    return (recorded.device_id, recorded.scanner_user_id) == (uploaded.device_id, uploaded.scanner_user_id)


def _is_soon(recorded: Scan, uploaded: Scan) -> bool:
    return uploaded.record_time - recorded.scan_time <= WINDOW


def _order(scan: Scan) -> tuple[datetime, str, str, str]:
    return scan.scan_time, scan.verdict, scan.denial_reason or "", scan.location
