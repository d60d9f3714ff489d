"""Failures that more than one module raises or returns."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from ticket_service.domain.events import Event
from ticket_service.domain.reasons import Reason
from ticket_service.domain.tickets import TicketFormat
from ticketing.chassis.failures import Failure, dependency_unavailable

# A recovery takes minutes.
RETRY_RECOVERING: Final = timedelta(seconds=10)


class Instead(StrEnum):
    """What a caller does instead of a refused ConfirmRefund."""

    # A payment provider makes the refund.
    WAIT = "WAIT"
    # The provider refused the refund: pay by hand and set paid_by_hand, or call RetryRefund for a cancellation.
    PAY_BY_HAND = "PAY_BY_HAND"
    # No refund is owed.
    NOTHING = "NOTHING"


def event_not_found(event_id: UUID) -> Failure:
    """Return EVENT_NOT_FOUND: there is no such event, or the caller may not see it."""
    return Failure(Reason.EVENT_NOT_FOUND, "there is no such event", event_id=event_id)


def purchase_not_found(purchase_id: UUID) -> Failure:
    """Return PURCHASE_NOT_FOUND: there is no such purchase, or the caller may not see it."""
    return Failure(Reason.PURCHASE_NOT_FOUND, "there is no such purchase", purchase_id=purchase_id)


def payment_processing(next_look: timedelta) -> Failure:
    """Return DEPENDENCY_UNAVAILABLE: a bank still processes the payment of a purchase, and nobody can withdraw it."""
    return Failure(
        Reason.DEPENDENCY_UNAVAILABLE,
        "a bank still processes the payment, which cannot be withdrawn meanwhile; try again later",
        retry_after=next_look,
        dependency="payment provider",
    )


def ticket_refund_not_found(ticket_refund_id: UUID) -> Failure:
    """Return TICKET_REFUND_NOT_FOUND: there is no such refund, or the caller may not see it."""
    return Failure(Reason.TICKET_REFUND_NOT_FOUND, "there is no such refund", ticket_refund_id=ticket_refund_id)


def ticket_not_found(ticket_id: UUID) -> Failure:
    """Return TICKET_NOT_FOUND: there is no such ticket, or the caller may not see it."""
    return Failure(Reason.TICKET_NOT_FOUND, "there is no such ticket", ticket_id=ticket_id)


def ticket_code_not_found(code: str) -> Failure:
    """Return TICKET_NOT_FOUND: no ticket has this code, or the caller may not see it."""
    return Failure(Reason.TICKET_NOT_FOUND, "there is no ticket with this code", code=code)


def cancellation_not_found(cancellation_id: UUID) -> Failure:
    """Return CANCELLATION_NOT_FOUND: there is no such cancellation, or the caller may not see it."""
    return Failure(Reason.CANCELLATION_NOT_FOUND, "there is no such cancellation", cancellation_id=cancellation_id)


def event_ended(event: Event) -> Failure:
    """Return EVENT_ENDED."""
    end_time = event.end_time.isoformat()
    return Failure(Reason.EVENT_ENDED, f"the event ended at {end_time}", event_id=event.event_id, end_time=end_time)


def event_not_changeable(event: Event, field: str, why: str) -> Failure:
    """Return EVENT_NOT_CHANGEABLE: the field of the event cannot change."""
    return Failure(Reason.EVENT_NOT_CHANGEABLE, f"{field} cannot change: {why}", event_id=event.event_id, field=field)


def ticket_checked_in(ticket_id: UUID, check_in_time: datetime | None) -> Failure:
    """Return TICKET_CHECKED_IN; the time is None if the scan service reported none."""
    time: dict[str, Any] = {"check_in_time": check_in_time.isoformat()} if check_in_time is not None else {}
    return Failure(Reason.TICKET_CHECKED_IN, "the ticket has been checked in", ticket_id=ticket_id, **time)


def ticket_not_active(ticket_id: UUID, status: str) -> Failure:
    """Return TICKET_NOT_ACTIVE."""
    return Failure(Reason.TICKET_NOT_ACTIVE, f"the ticket is {status}", ticket_id=ticket_id, status=status)


def payment_already_used(payment_id: str | None, purchase_id: UUID) -> Failure:
    """Return PAYMENT_ALREADY_USED: the payment pays another purchase."""
    message = "the payment pays another purchase"
    return Failure(Reason.PAYMENT_ALREADY_USED, message, payment_id=payment_id, purchase_id=purchase_id)


def request_id_reused(request_id: UUID) -> Failure:
    """Return REQUEST_ID_REUSED: the caller used this id for another request before."""
    message = "the request_id was used for another request"
    return Failure(Reason.REQUEST_ID_REUSED, message, request_id=request_id)


def scan_service_unavailable() -> Failure:
    """Return DEPENDENCY_UNAVAILABLE: whether a gate admits the ticket is not known yet."""
    return dependency_unavailable("scan service")


def provider_not_configured(provider: str) -> Failure:
    """Return PROVIDER_NOT_CONFIGURED: the request needs a payment provider that has no settings."""
    message = f"the payment provider {provider} is not configured"
    return Failure(Reason.PROVIDER_NOT_CONFIGURED, message, provider=provider)


def format_not_configured(ticket_format: TicketFormat) -> Failure:
    """Return FORMAT_NOT_CONFIGURED: the operator has no valid keys of the wallet."""
    message = f"the service has no valid keys for {ticket_format}"
    return Failure(Reason.FORMAT_NOT_CONFIGURED, message, format=ticket_format)


def illegal_transition(origin: str, target: str) -> Failure:
    """Return ILLEGAL_TRANSITION: no step leads from one status to the other."""
    # `from` is a keyword of the language, so a mapping passes it.
    metadata: dict[str, Any] = {"from": origin, "to": target}
    return Failure(Reason.ILLEGAL_TRANSITION, f"there is no step from {origin} to {target}", **metadata)


def refund_not_confirmable(status: str, provider: str | None, instead: Instead, to: str = "DONE") -> Failure:
    """Return ILLEGAL_TRANSITION for a refund in this status, with what to do instead."""
    why = {
        Instead.WAIT: "it is not due yet, or its payment provider makes it",
        Instead.PAY_BY_HAND: "its payment provider refused it; retry it, or pay by hand and set paid_by_hand",
        Instead.NOTHING: "no refund is owed",
    }
    metadata: dict[str, Any] = {"from": status, "to": to, "instead": instead}
    if provider is not None:
        metadata["provider"] = provider
    return Failure(Reason.ILLEGAL_TRANSITION, f"the refund is {status}: {why[instead]}", **metadata)


def recovering() -> Failure:
    """Return RECOVERING: the database was restored, and changes are refused until it is recovered."""
    return Failure(
        Reason.RECOVERING,
        "the database was restored and is being recovered; try again later",
        retry_after=RETRY_RECOVERING,
    )
