"""Taking a scan back: the person did not pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from scan_service.domain.admission_state import passed
from ticketing.admission.scans import Scan, Verdict

WINDOW: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Annulment:
    """Who takes which scan back."""

    scan_id: UUID
    device_id: str
    scanner_user_id: str
    # Whose event it must be; None: anybody's.
    organizer_id: str | None
    # What a device is for; empty: all of its organizer's.
    bound_to: frozenset[UUID]
    # Whose events they look after, where the limits of a gate do not hold; None: nobody's.
    looks_after: str | None
    # Acts for whoever looks after the event.
    looks_after_all: bool

    def is_limited(self, organizer_id: str) -> bool:
        """Tell whether the limits of a gate hold at an event of that organizer."""
        return not self.looks_after_all and self.looks_after != organizer_id


def obstacle(scan: Scan, scans: Sequence[Scan], annulment: Annulment, now: datetime, *, limited: bool) -> str | None:
    """Say why `scan` cannot be taken back; None where it can.

    Args:
        scan: not annulled yet.
        scans: all of the ticket's.
        annulment: who asks.
        now: the present time.
        limited: whether the limits of a gate hold.
    """
    if scan.verdict is Verdict.DENIED:
        return "it was denied anyway"
    if not limited:
        return None
    if (scan.device_id, scan.scanner_user_id) != (annulment.device_id, annulment.scanner_user_id):
        return "it was made by another device"
    if now - scan.scan_time > WINDOW:
        return f"it is older than {WINDOW // timedelta(minutes=1)} minutes"
    return None if passed(scans)[-1].scan_id == scan.scan_id else "it is not the ticket's latest"
