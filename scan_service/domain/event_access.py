"""The organizer check: a caller who is restricted to one organizer's events sees no others."""

from uuid import UUID

from scan_service.domain.reasons import Reason
from ticketing.chassis.failures import Failure


def may_access(organizer_id: str | None, event_organizer_id: str) -> bool:
    """Return whether a caller restricted to `organizer_id` may access an event; None: the caller is not restricted."""
    return organizer_id in {None, event_organizer_id}


def event_not_found(event_id: UUID) -> Failure:
    """Return the failure for an unknown event and for one that the caller may not access: the two look the same."""
    return Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=event_id)
