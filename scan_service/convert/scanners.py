"""Parsing of the requests of ScannerService, and conversion of its results."""

from uuid import UUID

from ticketing.chassis.parsing import NIL, Fields
from ticketing.scans.v1 import scanner_service_pb2 as pb


def read_erase_scanner(request: pb.EraseScannerRequest) -> tuple[str, tuple[UUID, UUID]]:
    """Read the user and the position of an EraseScannerRequest."""
    fields = Fields(request)
    user_id = fields.text("user_id")
    if not user_id:
        fields.violate("user_id", "is required")
    after = (fields.optional_uuid("after_event_id") or NIL, fields.optional_uuid("after_scan_id") or NIL)
    fields.check()
    return user_id, after


def erase_scanner_response(erased: int, following: tuple[UUID, UUID] | None) -> pb.EraseScannerResponse:
    """Build the response with the position of the next part."""
    response = pb.EraseScannerResponse(erased=erased)
    if following is not None:
        response.next_event_id, response.next_scan_id = map(str, following)
    return response
