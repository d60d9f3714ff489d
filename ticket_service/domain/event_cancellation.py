"""Calling an event off, after its sales have stopped: first its gates close, then its tickets are given back. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from ticket_service.domain.cancellations import HEAD_START, Cancellation, CancellationStatus
from ticket_service.domain.refund_policy import in_full


@dataclass(frozen=True, slots=True)
class EventCancellation:
    """How far the calling off of one event is."""

    event_id: UUID
    reason: str
    create_time: datetime
    # When the sweeper is to look at it; None: nothing is left to do.
    due_time: datetime | None
    # When the scan service confirmed that no gate admits any more.
    gates_closed_time: datetime | None = None
    # Tickets are taken in the order of their ids: up to this one they have a cancellation, or need none.
    after_ticket_id: UUID | None = None
    complete_time: datetime | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """A ticket that takes up a place of an event called off."""

    ticket_id: UUID
    issue: int
    price: int
    check_in_time: datetime | None


def begun(event_id: UUID, reason: str, now: datetime) -> EventCancellation:
    """Return the calling off of an event; the caller who waits tries to close the gates before the sweeper does."""
    return EventCancellation(event_id, reason, create_time=now, due_time=now + HEAD_START)


def gates_closed(event_cancellation: EventCancellation, now: datetime) -> EventCancellation:
    """Return it once no gate admits any more: the tickets are due at once."""
    return replace(event_cancellation, gates_closed_time=now, due_time=now, attempts=0)


def put_off(event_cancellation: EventCancellation, now: datetime, seconds: float) -> EventCancellation:
    """Return it after a try that is to be the only one for so long."""
    return replace(
        event_cancellation, attempts=event_cancellation.attempts + 1, due_time=now + timedelta(seconds=seconds)
    )


def gone_on(event_cancellation: EventCancellation, batch: Sequence[OpenTicket], now: datetime) -> EventCancellation:
    """Return it once the next tickets have their cancellations; without any it is complete."""
    if not batch:
        return replace(event_cancellation, complete_time=now, due_time=None)
    # Due at once: another process may take the next batch while this one is settled.
    return replace(event_cancellation, after_ticket_id=batch[-1].ticket_id, due_time=now)


def without_cancellation(batch: Sequence[OpenTicket], being_cancelled: Collection[UUID]) -> list[OpenTicket]:
    """Return the tickets that are to have a new cancellation.

    Args:
        batch: tickets of the event.
        being_cancelled: those of them whose own cancellation is PENDING: that one goes on.
    """
    # Who is known to be inside keeps the ticket; of whom that is not known yet, the scan service decides.
    return [ticket for ticket in batch if ticket.check_in_time is None and ticket.ticket_id not in being_cancelled]


def cancellation_of(
    event_cancellation: EventCancellation, ticket: OpenTicket, cancellation_id: UUID, currency: str, now: datetime
) -> Cancellation:
    """Return a cancellation that grants everything."""
    granted = in_full(ticket.price)
    return Cancellation(
        cancellation_id=cancellation_id,
        event_id=event_cancellation.event_id,
        ticket_id=ticket.ticket_id,
        issue=ticket.issue,
        status=CancellationStatus.PENDING,
        currency=currency,
        refund_amount=granted.amount,
        refund_percent=granted.percent,
        reason=event_cancellation.reason,
        create_time=now,
        due_time=now + HEAD_START,
    )
