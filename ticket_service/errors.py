"""The status code and the metadata keys of each reason; a test compares them with the contract both ways."""

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from ticket_service.domain.reasons import Reason
from ticketing.chassis.statuses import Catalogue, ReasonEntry

DOMAIN: Final = "tickets.ticketing"

ENTRIES: Final[Mapping[str, ReasonEntry]] = {
    Reason.INVALID_ARGUMENT: ReasonEntry(StatusCode.INVALID_ARGUMENT),
    Reason.UNAUTHENTICATED: ReasonEntry(StatusCode.UNAUTHENTICATED, {"cause"}),
    Reason.FORBIDDEN: ReasonEntry(StatusCode.PERMISSION_DENIED, {"method", "role"}),
    Reason.EVENT_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"event_id"}),
    Reason.TICKET_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"ticket_id", "code"}),
    Reason.PURCHASE_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"purchase_id"}),
    Reason.CANCELLATION_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"cancellation_id"}),
    Reason.NOT_ON_SALE: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"event_id", "status", "ticket_type"}),
    Reason.EVENT_ENDED: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"event_id", "end_time"}),
    Reason.SOLD_OUT: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"event_id", "ticket_type", "requested", "available"}),
    Reason.TICKET_NOT_CANCELLABLE: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"ticket_id", "status"}),
    Reason.TICKET_CHECKED_IN: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"ticket_id", "check_in_time"}),
    Reason.ILLEGAL_TRANSITION: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"from", "to", "provider", "instead"}),
    Reason.PRICE_CHANGED: ReasonEntry(
        StatusCode.FAILED_PRECONDITION, {"expected", "expected_currency_code", "actual", "currency_code"}
    ),
    Reason.REQUEST_ID_REUSED: ReasonEntry(StatusCode.ALREADY_EXISTS, {"request_id"}),
    Reason.ETAG_MISMATCH: ReasonEntry(StatusCode.ABORTED, {"etag"}),
    Reason.OVERLOADED: ReasonEntry(StatusCode.RESOURCE_EXHAUSTED),
    Reason.DEPENDENCY_UNAVAILABLE: ReasonEntry(StatusCode.UNAVAILABLE, {"dependency"}),
    Reason.PAYMENT_ALREADY_USED: ReasonEntry(StatusCode.ALREADY_EXISTS, {"payment_id", "purchase_id"}),
    Reason.PURCHASE_LIMIT: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"ticket_type", "min", "max"}),
    Reason.TICKET_NOT_ACTIVE: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"ticket_id", "status"}),
    Reason.CANCELLATION_PENDING: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"ticket_id", "cancellation_id"}),
    Reason.CAPACITY_BELOW_RESERVED: ReasonEntry(
        StatusCode.FAILED_PRECONDITION, {"event_id", "ticket_type", "reserved"}
    ),
    Reason.EVENT_NOT_CHANGEABLE: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"event_id", "field"}),
    Reason.PROVIDER_NOT_CONFIGURED: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"provider"}),
    Reason.PRICE_NOT_CHARGEABLE: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"event_id", "field", "provider"}),
    Reason.CUSTOMER_HOLD_LIMIT: ReasonEntry(
        StatusCode.FAILED_PRECONDITION, {"event_id", "ticket_type", "max", "have", "requested", "within_seconds"}
    ),
    Reason.CUSTOMER_TICKET_LIMIT: ReasonEntry(
        StatusCode.FAILED_PRECONDITION, {"event_id", "ticket_type", "max", "have", "requested"}
    ),
    Reason.EMAIL_LIMIT: ReasonEntry(StatusCode.RESOURCE_EXHAUSTED, {"max", "within_seconds"}),
    Reason.REFUND_OUT_OF_RANGE: ReasonEntry(
        StatusCode.FAILED_PRECONDITION, {"ticket_id", "min", "max", "currency_code"}
    ),
    Reason.TICKET_REFUND_NOT_FOUND: ReasonEntry(StatusCode.NOT_FOUND, {"ticket_refund_id"}),
    Reason.FORMAT_NOT_CONFIGURED: ReasonEntry(StatusCode.FAILED_PRECONDITION, {"format"}),
    Reason.RECOVERING: ReasonEntry(StatusCode.UNAVAILABLE),
}

CATALOGUE: Final = Catalogue(DOMAIN, ENTRIES)
