"""The messages that take a scan back."""

from scan_service.convert.scans import own_events_only
from scan_service.domain.annulment import Annulment
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.parsing import Fields


def read_annulment(caller: Caller, scan_id: str, path: str = "") -> Annulment:
    """Read which scan `caller` takes back.

    Raises:
        Failure: INVALID_ARGUMENT.
    """
    fields = Fields()
    read = fields.uuid(f"{path}scan_id", scan_id)
    fields.check()
    is_device = caller.is_any(Role.DEVICE)
    return Annulment(
        scan_id=read,
        device_id=caller.subject if is_device else "",
        scanner_user_id="" if is_device else caller.subject,
        organizer_id=own_events_only(caller),
        bound_to=caller.bound_to,
        unlimited_at=caller.subject if caller.is_any(Role.ORGANIZER) else None,
        unlimited=caller.is_any(Role.SERVICE),
    )
