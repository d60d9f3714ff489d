"""The status code and the metadata keys of each reason; a test compares them with the contract both ways."""

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from scan_service.domain.reasons import Reason
from ticketing.chassis.statuses import Catalogue, ReasonEntry

DOMAIN: Final = "scans.ticketing"

ENTRIES: Final[Mapping[str, ReasonEntry]] = {
    Reason.INVALID_ARGUMENT: ReasonEntry(StatusCode.INVALID_ARGUMENT),
    Reason.UNAUTHENTICATED: ReasonEntry(StatusCode.UNAUTHENTICATED, {"cause"}),
    Reason.FORBIDDEN: ReasonEntry(StatusCode.PERMISSION_DENIED, {"method", "role", "event_id"}),
    Reason.EVENT_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"event_id"}),
    Reason.SCAN_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"scan_id"}),
    Reason.DEVICE_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"device_id"}),
    Reason.GATE_NOT_OPEN: ReasonEntry(StatusCode.FAILED_PRECONDITION),
    Reason.SCAN_NOT_ANNULLABLE: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"scan_id", "cause"}),
    Reason.ENROLLMENT_CODE_INVALID: ReasonEntry(StatusCode.FAILED_PRECONDITION),
    Reason.LOOK_UP_NOT_ALLOWED: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"event_id", "cause"}),
    Reason.SCAN_ID_REUSED: ReasonEntry(StatusCode.ALREADY_EXISTS, {"scan_id"}),
    Reason.REQUEST_ID_REUSED: ReasonEntry(StatusCode.ALREADY_EXISTS, {"request_id"}),
    Reason.OVERLOADED: ReasonEntry(StatusCode.RESOURCE_EXHAUSTED),
    Reason.DEPENDENCY_UNAVAILABLE: ReasonEntry(StatusCode.UNAVAILABLE, {"dependency"}),
}

CATALOGUE: Final = Catalogue(DOMAIN, ENTRIES)
