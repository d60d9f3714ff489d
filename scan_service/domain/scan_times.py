"""The time of an offline scan, as the device sent it and as it is recorded."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from ticketing.admission.scans import OfflineDecision, Scan

# The clocks of a device and of this service's processes may differ by this time.
MAX_AHEAD: Final = timedelta(seconds=5)


def settle_times(decision: OfflineDecision, now: datetime, recorded: Scan | None) -> tuple[OfflineDecision, bool]:
    """Return a decision with a time that may have been, and whether that time is doubtful.

    A time in the future would order the scan behind later ones of its ticket. It becomes `now`, the latest possible
    time, or the time of the earlier record of the same upload. An annulment keeps its distance from the scan.
    """
    ahead = decision.scan_time - now
    if ahead <= MAX_AHEAD:
        return decision, decision.clock_unknown
    scan_time = recorded.scan_time if recorded is not None and recorded.doubtful_time else now
    annul_time = None if decision.annul_time is None else decision.annul_time - (decision.scan_time - scan_time)
    return replace(decision, scan_time=scan_time, annul_time=annul_time), True
