"""Why a call failed, as ticketing.tickets.v1.ErrorReason spells it, without the prefix."""

from enum import StrEnum
from typing import Any

from chassis.failures import Failure


class Reason(StrEnum):
    """The reason of a Failure; `ticket_service.errors` says its status code and metadata."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    EVENT_NOT_FOUND = "EVENT_NOT_FOUND"
    TICKET_NOT_FOUND = "TICKET_NOT_FOUND"
    PURCHASE_NOT_FOUND = "PURCHASE_NOT_FOUND"
    CANCELLATION_NOT_FOUND = "CANCELLATION_NOT_FOUND"
    NOT_ON_SALE = "NOT_ON_SALE"
    EVENT_ENDED = "EVENT_ENDED"
    SOLD_OUT = "SOLD_OUT"
    TICKET_NOT_CANCELLABLE = "TICKET_NOT_CANCELLABLE"
    TICKET_CHECKED_IN = "TICKET_CHECKED_IN"
    ILLEGAL_TRANSITION = "ILLEGAL_TRANSITION"
    PRICE_CHANGED = "PRICE_CHANGED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    OVERLOADED = "OVERLOADED"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    PAYMENT_ALREADY_USED = "PAYMENT_ALREADY_USED"
    PURCHASE_LIMIT = "PURCHASE_LIMIT"
    TICKET_NOT_ACTIVE = "TICKET_NOT_ACTIVE"
    CANCELLATION_PENDING = "CANCELLATION_PENDING"
    CAPACITY_BELOW_RESERVED = "CAPACITY_BELOW_RESERVED"
    EVENT_NOT_CHANGEABLE = "EVENT_NOT_CHANGEABLE"


def illegal_transition(origin: str, target: str) -> Failure:
    """Say that there is no step from one status to another."""
    # Spread, because `from` is a keyword of the language.
    metadata: dict[str, Any] = {"from": origin, "to": target}
    return Failure(Reason.ILLEGAL_TRANSITION, f"there is no step from {origin} to {target}", **metadata)
