"""The rights of a caller as the use cases need them."""

from typing import Final
from uuid import UUID

from scan_service.domain.reasons import Reason
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failures import Failure

# Roles that are not restricted to the events of one organizer.
ANY_EVENT: Final = (Role.SCANNER, Role.SERVICE, Role.OPERATOR)


def own_organizer(caller: Caller) -> str | None:
    """Return the organizer to whose events the caller is restricted; None: the caller is not restricted."""
    if caller.is_any(Role.DEVICE):
        return caller.owner
    return None if caller.is_any(*ANY_EVENT) else caller.subject


def may_see_codes(caller: Caller) -> bool:
    """Return whether the caller gets the codes of scanned tickets in full: an operator reads scans and opens no gate."""
    return caller.is_any(Role.SCANNER, Role.SERVICE, Role.DEVICE) or not caller.is_any(Role.OPERATOR)


def check_device_event(caller: Caller, event_id: UUID) -> None:
    """Refuse an event that the device of the call is not for, as FORBIDDEN."""
    if caller.bound_to and event_id not in caller.bound_to:
        raise Failure(Reason.FORBIDDEN, "this device is not for this event", event_id=event_id)
