"""The status code and the metadata keys of each reason; a test compares them with the contract both ways."""

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from scan_service.domain.reasons import Reason
from ticketing.chassis.statuses import Catalogue, ReasonEntry

DOMAIN: Final = "scans.ticketing"


def _entry(code: StatusCode, *metadata_keys: str) -> ReasonEntry:
    return ReasonEntry(code, frozenset(metadata_keys))


ENTRIES: Final[Mapping[str, ReasonEntry]] = {
    Reason.INVALID_ARGUMENT: _entry(StatusCode.INVALID_ARGUMENT),
    Reason.UNAUTHENTICATED: _entry(StatusCode.UNAUTHENTICATED, "cause"),
    Reason.FORBIDDEN: _entry(StatusCode.PERMISSION_DENIED, "method", "role", "event_id"),
    Reason.EVENT_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "event_id"),
    Reason.SCAN_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "scan_id"),
    Reason.DEVICE_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "device_id"),
    Reason.GATE_NOT_OPEN: _entry(StatusCode.FAILED_PRECONDITION),
    Reason.SCAN_NOT_ANNULLABLE: _entry(StatusCode.FAILED_PRECONDITION, "scan_id", "cause"),
    Reason.ENROLLMENT_CODE_INVALID: _entry(StatusCode.FAILED_PRECONDITION),
    Reason.SCAN_ID_REUSED: _entry(StatusCode.ALREADY_EXISTS, "scan_id"),
    Reason.REQUEST_ID_REUSED: _entry(StatusCode.ALREADY_EXISTS, "request_id"),
    Reason.OVERLOADED: _entry(StatusCode.RESOURCE_EXHAUSTED),
    Reason.DEPENDENCY_UNAVAILABLE: _entry(StatusCode.UNAVAILABLE, "dependency"),
}

CATALOGUE: Final = Catalogue(DOMAIN, ENTRIES)
