"""The failures of the use cases, one function for each reason."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from scan_service.domain.reasons import Reason
from ticketing.chassis.failures import Failure, overloaded

# A person at a gate waits meanwhile.
RETRY_LOCKED: Final = timedelta(seconds=0.5)


def event_not_found(event_id: UUID) -> Failure:
    """Return the failure for an unknown event and for one that the caller may not access: both look the same."""
    return Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=event_id)


def device_not_found(device_id: UUID) -> Failure:
    """Return the failure for an unknown device and for another organizer's: the two look the same."""
    return Failure(Reason.DEVICE_NOT_FOUND, "no such device", device_id=device_id)


def scan_not_found(scan_id: UUID) -> Failure:
    """Return the failure for an unknown scan and for one that the caller may not see: the two look the same."""
    return Failure(Reason.SCAN_NOT_FOUND, "no such scan", scan_id=scan_id)


def scan_not_annullable(scan_id: UUID, cause: str) -> Failure:
    """Return the failure for a scan that the caller cannot annul."""
    return Failure(Reason.SCAN_NOT_ANNULLABLE, f"this scan cannot be annulled: {cause}", scan_id=scan_id, cause=cause)


def scan_id_reused(scan_id: UUID) -> Failure:
    """Return the failure for a scan_id that was used for a different scan."""
    return Failure(Reason.SCAN_ID_REUSED, "this scan_id was used for a different scan", scan_id=scan_id)


def rows_locked() -> Failure:
    """Return the failure for a scan or a revocation of rows that another session has locked for long."""
    return overloaded("changes to rows that another session has locked", RETRY_LOCKED)


def enrollment_code_invalid() -> Failure:
    """Return the failure for a code that enrolls no device."""
    return Failure(Reason.ENROLLMENT_CODE_INVALID, "the code was used before, has expired, or is unknown")


def request_id_reused(request_id: UUID) -> Failure:
    """Return the failure for a request_id that the caller used for a different request."""
    return Failure(Reason.REQUEST_ID_REUSED, "the request_id was used for another request", request_id=request_id)


def look_up_not_allowed(event_id: UUID, cause: str) -> Failure:
    """Return the failure for a look-up that the EVENT or the SERVICE does not allow."""
    who = "this event" if cause == "EVENT" else "this service"
    return Failure(Reason.LOOK_UP_NOT_ALLOWED, f"{who} allows no look-ups", event_id=event_id, cause=cause)
