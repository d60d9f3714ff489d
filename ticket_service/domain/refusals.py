"""Failures that more than one use case answers with."""

from typing import Any
from uuid import UUID

from ticket_service.domain.events import Event
from ticket_service.domain.reasons import Reason
from ticketing.chassis.failures import Failure, dependency_unavailable


def event_not_found(event_id: UUID) -> Failure:
    """Say that there is no such event, or none that the caller may see."""
    return Failure(Reason.EVENT_NOT_FOUND, "there is no such event", event_id=event_id)


def event_ended(event: Event) -> Failure:
    """Say that the event is over."""
    end_time = event.end_time.isoformat()
    return Failure(Reason.EVENT_ENDED, f"the event ended at {end_time}", event_id=event.event_id, end_time=end_time)


def request_id_reused(request_id: UUID) -> Failure:
    """Say that the caller used the request_id for something else."""
    message = "the request_id was used for another request"
    return Failure(Reason.REQUEST_ID_REUSED, message, request_id=request_id)


def no_answer_of_scans() -> Failure:
    """Say that whether a gate admits the ticket is not known yet."""
    return dependency_unavailable("scan service")


def provider_not_configured(provider: str) -> Failure:
    """Build the failure of a request that needs a payment provider without settings."""
    message = f"the payment provider {provider} is not configured"
    return Failure(Reason.PROVIDER_NOT_CONFIGURED, message, provider=provider)


def illegal_transition(origin: str, target: str) -> Failure:
    """Say that there is no step from one status to another."""
    # Spread, because `from` is a keyword of the language.
    metadata: dict[str, Any] = {"from": origin, "to": target}
    return Failure(Reason.ILLEGAL_TRANSITION, f"there is no step from {origin} to {target}", **metadata)
