"""The status code and the metadata keys of each reason; a test compares them with the contract both ways."""

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from ticket_service.domain.reasons import Reason
from ticketing.chassis.statuses import Catalogue, ReasonEntry

DOMAIN: Final = "tickets.ticketing"


def _entry(code: StatusCode, *metadata_keys: str) -> ReasonEntry:
    return ReasonEntry(code, frozenset(metadata_keys))


ENTRIES: Final[Mapping[str, ReasonEntry]] = {
    Reason.INVALID_ARGUMENT: _entry(StatusCode.INVALID_ARGUMENT),
    Reason.UNAUTHENTICATED: _entry(StatusCode.UNAUTHENTICATED, "cause"),
    Reason.FORBIDDEN: _entry(StatusCode.PERMISSION_DENIED, "method", "role"),
    Reason.EVENT_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "event_id"),
    Reason.TICKET_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "ticket_id", "code"),
    Reason.PURCHASE_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "purchase_id"),
    Reason.CANCELLATION_NOT_FOUND: _entry(StatusCode.NOT_FOUND, "cancellation_id"),
    Reason.NOT_ON_SALE: _entry(StatusCode.FAILED_PRECONDITION, "event_id", "status", "ticket_type"),
    Reason.EVENT_ENDED: _entry(StatusCode.FAILED_PRECONDITION, "event_id", "end_time"),
    Reason.SOLD_OUT: _entry(StatusCode.FAILED_PRECONDITION, "event_id", "ticket_type", "requested", "available"),
    Reason.TICKET_NOT_CANCELLABLE: _entry(StatusCode.FAILED_PRECONDITION, "ticket_id", "status"),
    Reason.TICKET_CHECKED_IN: _entry(StatusCode.FAILED_PRECONDITION, "ticket_id", "check_in_time"),
    Reason.ILLEGAL_TRANSITION: _entry(StatusCode.FAILED_PRECONDITION, "from", "to"),
    Reason.PRICE_CHANGED: _entry(StatusCode.FAILED_PRECONDITION, "expected", "actual", "currency_code"),
    Reason.REQUEST_ID_REUSED: _entry(StatusCode.ALREADY_EXISTS, "request_id"),
    Reason.ETAG_MISMATCH: _entry(StatusCode.ABORTED, "etag"),
    Reason.OVERLOADED: _entry(StatusCode.RESOURCE_EXHAUSTED),
    Reason.DEPENDENCY_UNAVAILABLE: _entry(StatusCode.UNAVAILABLE, "dependency"),
    Reason.PAYMENT_ALREADY_USED: _entry(StatusCode.ALREADY_EXISTS, "payment_id", "purchase_id"),
    Reason.PURCHASE_LIMIT: _entry(StatusCode.FAILED_PRECONDITION, "ticket_type", "min", "max"),
    Reason.TICKET_NOT_ACTIVE: _entry(StatusCode.FAILED_PRECONDITION, "ticket_id", "status"),
    Reason.CANCELLATION_PENDING: _entry(StatusCode.FAILED_PRECONDITION, "ticket_id", "cancellation_id"),
    Reason.CAPACITY_BELOW_RESERVED: _entry(StatusCode.FAILED_PRECONDITION, "event_id", "ticket_type", "reserved"),
    Reason.EVENT_NOT_CHANGEABLE: _entry(StatusCode.FAILED_PRECONDITION, "event_id", "field"),
    Reason.PROVIDER_NOT_CONFIGURED: _entry(StatusCode.FAILED_PRECONDITION, "provider"),
}

CATALOGUE: Final = Catalogue(DOMAIN, ENTRIES)
