"""Decide how the cancellation of an event proceeds after its sales have stopped.

First the scan service closes the gates, then the tickets are cancelled in batches.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from ticket_service.domain.cancellations import SWEEPER_DELAY, Cancellation, CancellationStatus
from ticket_service.domain.refund_policy import in_full


@dataclass(frozen=True, slots=True)
class EventCancellation:
    """The progress of the cancellation of one event."""

    event_id: UUID
    reason: str
    create_time: datetime
    # The time when the sweeper continues; None: the cancellation is complete.
    due_time: datetime | None
    # The time when the scan service confirmed that no gate admits to the event.
    gates_closed_time: datetime | None = None
    # Batches proceed by ticket id: every ticket up to this id has a cancellation or needs none.
    after_ticket_id: UUID | None = None
    complete_time: datetime | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """A ticket of a cancelled event that still takes up a place."""

    ticket_id: UUID
    issue: int
    # The price less the refunds without a cancellation.
    refundable: int
    check_in_time: datetime | None


@dataclass(frozen=True, slots=True)
class OwedTicket:
    """A ticket of a cancelled event that has no cancellation and, by the latest report, no check-in that stands."""

    event_cancellation: EventCancellation
    ticket: OpenTicket
    currency: str


def begin(event_id: UUID, reason: str, now: datetime) -> EventCancellation:
    """Return a new event cancellation; the sweeper tries after the caller's own try to close the gates."""
    return EventCancellation(event_id, reason, create_time=now, due_time=now + SWEEPER_DELAY)


def confirm_closed_gates(event_cancellation: EventCancellation, now: datetime) -> EventCancellation:
    """Return the event cancellation after its gates are closed; its tickets are due at once."""
    return replace(event_cancellation, gates_closed_time=now, due_time=now, attempts=0)


def reopen(event_cancellation: EventCancellation, now: datetime) -> EventCancellation:
    """Return a complete event cancellation with its batches due again; a ticket that needs none is left as it is."""
    if event_cancellation.complete_time is None:
        return event_cancellation
    return replace(event_cancellation, after_ticket_id=None, complete_time=None, due_time=now, attempts=0)


def claim(event_cancellation: EventCancellation, now: datetime, seconds: float) -> EventCancellation:
    """Count a try of the event cancellation, and make the next try due after so many seconds."""
    return replace(
        event_cancellation, attempts=event_cancellation.attempts + 1, due_time=now + timedelta(seconds=seconds)
    )


def advance(event_cancellation: EventCancellation, batch: Sequence[OpenTicket], now: datetime) -> EventCancellation:
    """Return the event cancellation after a batch has its cancellations; an empty batch completes it."""
    if not batch:
        return replace(event_cancellation, complete_time=now, due_time=None)
    # Another process may process the next batch while this batch is settled.
    return replace(event_cancellation, after_ticket_id=batch[-1].ticket_id, due_time=now)


def tickets_to_cancel(batch: Sequence[OpenTicket], pending: Collection[UUID]) -> list[OpenTicket]:
    """Return the tickets of a batch that need a new cancellation; a `pending` ticket has a PENDING one."""
    # A ticket with a known check-in stays valid. The scan service decides about check-ins that are not reported yet.
    return [ticket for ticket in batch if ticket.check_in_time is None and ticket.ticket_id not in pending]


def cancellation_of(
    event_cancellation: EventCancellation, ticket: OpenTicket, cancellation_id: UUID, currency: str, now: datetime
) -> Cancellation:
    """Return the cancellation of one of the event's tickets, with a full refund."""
    granted = in_full(ticket.refundable)
    return Cancellation(
        cancellation_id=cancellation_id,
        event_id=event_cancellation.event_id,
        ticket_id=ticket.ticket_id,
        issue=ticket.issue,
        status=CancellationStatus.PENDING,
        currency=currency,
        refund_amount=granted.amount,
        refund_percent=granted.percent,
        refund_basis=granted.basis,
        reason=event_cancellation.reason,
        create_time=now,
        due_time=now + SWEEPER_DELAY,
    )
