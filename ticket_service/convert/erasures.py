"""Parsing of the requests of ErasureService, conversion of erasures, and calls of ScannerService."""

from typing import Final
from uuid import UUID

from ticket_service.domain.erasures import Erasure, ErasureStatus, ScanCursor, SubjectKind
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scanner_service_pb2
from ticketing.tickets.v1 import erasure_service_pb2 as pb

ERASURE_STATUSES: Final = {status: pb.ErasureStatus.Value(f"ERASURE_STATUS_{status}") for status in ErasureStatus}
COUNTERS: Final = ("purchases", "tickets", "contacts", "notifications", "requests", "scans", "kept_events")


def read_erase(request: pb.EraseRequest) -> tuple[SubjectKind, str]:
    """Read the subject of an EraseRequest."""
    fields = Fields(request)
    is_address = request.WhichOneof("subject") == "email"
    field = "email" if is_address else "user_id"
    subject = fields.text(field)
    if not subject:
        fields.violate(field, "is required")
    fields.check()
    return SubjectKind.ADDRESS if is_address else SubjectKind.USER, subject


def erasure_message(erasure: Erasure) -> pb.Erasure:
    """Build the message of an erasure."""
    return pb.Erasure(
        erasure_id=str(erasure.erasure_id),
        status=ERASURE_STATUSES[erasure.status],
        create_time=timestamp(erasure.create_time),
        complete_time=timestamp(erasure.complete_time),
        **{name: getattr(erasure, name) for name in COUNTERS},
    )


def erase_scanner_request(user_id: str, after: ScanCursor | None) -> scanner_service_pb2.EraseScannerRequest:
    """Build the request that erases a user from the scans after a position."""
    request = scanner_service_pb2.EraseScannerRequest(user_id=user_id)
    if after is not None:
        request.after_event_id, request.after_scan_id = str(after.event_id), str(after.scan_id)
    return request


def read_cursor(response: scanner_service_pb2.EraseScannerResponse) -> ScanCursor | None:
    """Read the position of the next part; None after the last part."""
    if not response.next_event_id:
        return None
    return ScanCursor(UUID(response.next_event_id), UUID(response.next_scan_id))
