"""Annulments: a scan is annulled because the person did not pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from scan_service.domain.admission_state import is_denied_exit, is_effective, order_of, select_effective
from ticketing.admission.scans import Scan, Verdict
from ticketing.chassis.callers import Caller

WINDOW: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Annulment:
    """A request to annul one scan, with the rights of its caller."""

    scan_id: UUID
    device_id: str
    scanner_user_id: str
    # The organizer to whose events the caller is restricted; None: every organizer is allowed.
    organizer_id: str | None
    # The events to which a device is bound; empty: all events of its organizer are allowed.
    bound_to: frozenset[UUID]
    # The limits of a gate do not apply to the caller at this organizer's events; None: the limits always apply.
    unlimited_at: str | None
    # The limits of a gate never apply to the caller.
    unlimited: bool
    # The caller whom the audit trail names; None: a device annuls its own scan, whose record names the device.
    recorded_caller: Caller | None = None

    def is_limited(self, organizer_id: str) -> bool:
        """Return whether the limits of a gate apply at an event of that organizer."""
        return not self.unlimited and self.unlimited_at != organizer_id


def find_obstacle(
    scan: Scan, scans: Sequence[Scan], annulment: Annulment, now: datetime, *, limited: bool
) -> str | None:
    """Return the reason why `scan`, one of the `scans` of its ticket, cannot be annulled; None where it can.

    Under the limits of a gate, a device annuls only its own scan, the latest of the ticket, within 15 minutes.
    """
    if scan.verdict is Verdict.DENIED:
        return "it was denied anyway"
    if not limited:
        return None
    if (scan.device_id, scan.scanner_user_id) != (annulment.device_id, annulment.scanner_user_id):
        return "it was made by another device"
    if now - scan.scan_time > WINDOW:
        return f"it is older than {WINDOW // timedelta(minutes=1)} minutes"
    return None if select_effective(scans)[-1].scan_id == scan.scan_id else "it is not the ticket's latest"


def settle_annulments(scans: Iterable[Scan]) -> Sequence[Scan]:
    """Return all scans of one ticket, each claimed annulment in effect where the limits of a gate allow it.

    A claim is allowed within 15 minutes after the scan, if no other scan in effect followed until then, and no denied
    exit. The result does not depend on the order of the uploads: the latest scan is settled first, because it decides
    about earlier ones.
    """
    settled, later = list[Scan](), list[Scan]()
    for scan in sorted(scans, key=order_of, reverse=True):
        if (claim := scan.claimed_annul_time) is not None:
            allowed = claim - scan.scan_time <= WINDOW and all(other.scan_time > claim for other in later)
            scan = replace(scan, annul_time=claim if allowed else None)  # noqa: PLW2901 - the settled one replaces it
        if is_effective(scan) or is_denied_exit(scan):
            later.append(scan)
        settled.append(scan)
    return settled
