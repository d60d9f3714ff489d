"""Parsing of the messages that annul a scan."""

from scan_service.convert.callers import own_organizer
from scan_service.domain.annulment import Annulment
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_service_pb2 as pb


def read_annulment(caller: Caller, message: pb.AnnulScanRequest | pb.Passage, path: str = "") -> Annulment:
    """Read the scan that `caller` annuls."""
    fields = Fields(message, path)
    scan_id = fields.uuid("scan_id")
    fields.check()
    is_device = caller.is_any(Role.DEVICE)
    return Annulment(
        scan_id=scan_id,
        device_id=caller.subject if is_device else "",
        scanner_user_id="" if is_device else caller.subject,
        organizer_id=own_organizer(caller),
        bound_to=caller.bound_to,
        unlimited_at=caller.subject if caller.is_any(Role.ORGANIZER) else None,
        unlimited=caller.is_any(Role.SERVICE, Role.OPERATOR),
        recorded_caller=None if is_device else caller,
    )
