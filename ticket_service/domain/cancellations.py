"""Giving tickets back: who may, what it brings, and how a cancellation goes on. Pure.

PENDING until the scan service has confirmed that no gate will admit the ticket, then REFUNDING or DONE; REJECTED where
a gate was first. What is refunded is fixed when it is asked for.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from ticket_service.domain.events import EventStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refund_policy import in_full, refund
from ticket_service.domain.refusals import illegal_transition
from ticket_service.domain.revocations import Outcome, Revocation
from ticket_service.domain.tickets import SoldTicket, TicketStatus
from ticketing.chassis.failures import Failure

# What a caller who waits needs for both services; only then does the sweeper take over.
HEAD_START: Final = timedelta(seconds=5)


class CancellationStatus(StrEnum):
    """How far a cancellation is."""

    PENDING = "PENDING"
    REFUNDING = "REFUNDING"
    DONE = "DONE"
    REJECTED = "REJECTED"
    REFUND_FAILED = "REFUND_FAILED"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """One ticket given back."""

    cancellation_id: UUID
    event_id: UUID
    ticket_id: UUID
    # The ticket's.
    issue: int
    status: CancellationStatus
    currency: str
    refund_amount: int
    refund_percent: int
    reason: str
    create_time: datetime
    refund_id: str | None = None
    failure: str | None = None
    # The check-in that was first, with REJECTED.
    check_in_time: datetime | None = None
    complete_time: datetime | None = None
    # When the sweeper is to look at it; None: nothing is left to it.
    due_time: datetime | None = None
    attempts: int = 0

    @property
    def ticket_status(self) -> TicketStatus:
        """What the ticket becomes."""
        return TicketStatus.REFUNDED if self.refund_amount > 0 else TicketStatus.CANCELLED

    @property
    def revocation(self) -> Revocation:
        """What the scan service is asked for."""
        return Revocation(self.cancellation_id, self.ticket_id, self.ticket_status, self.issue)


def requested(sold: SoldTicket, cancellation_id: UUID, reason: str, now: datetime) -> Cancellation:
    """Return the cancellation of a ticket that has none yet.

    Raises:
        Failure: TICKET_CHECKED_IN or TICKET_NOT_CANCELLABLE.
    """
    ticket, event = sold.ticket, sold.event
    if ticket.check_in_time is not None:
        # Also where it might admit again (RE_ENTRY): what admits is never both used and refunded.
        raise checked_in(ticket.ticket_id, ticket.check_in_time)
    status = sold.status_at(now)
    if status is not TicketStatus.ACTIVE:
        raise Failure(
            Reason.TICKET_NOT_CANCELLABLE, f"the ticket is {status}", ticket_id=ticket.ticket_id, status=status
        )
    if event.status is EventStatus.CANCELLED:
        # Whoever asks before their turn in the calling off gets what they would have got then.
        granted = in_full(ticket.price)
    else:
        granted = refund(ticket.price, event.refund_tiers, event.start_time, now)
    return Cancellation(
        cancellation_id=cancellation_id,
        event_id=ticket.event_id,
        ticket_id=ticket.ticket_id,
        issue=ticket.issue,
        status=CancellationStatus.PENDING,
        currency=event.currency,
        refund_amount=granted.amount,
        refund_percent=granted.percent,
        reason=reason,
        create_time=now,
        due_time=now + HEAD_START,
    )


def settled(cancellation: Cancellation, outcome: Outcome, now: datetime) -> Cancellation:
    """Return a PENDING cancellation as it is once the scan service has answered."""
    if not outcome.revoked:
        status = CancellationStatus.REJECTED
    elif cancellation.refund_amount > 0:
        status = CancellationStatus.REFUNDING
    else:
        status = CancellationStatus.DONE
    is_over = status is not CancellationStatus.REFUNDING
    return replace(
        cancellation,
        status=status,
        check_in_time=outcome.check_in_time,
        complete_time=now if is_over else None,
        due_time=None,
    )


def refunded(cancellation: Cancellation, refund_id: str, now: datetime) -> Cancellation:
    """Return the cancellation as it is once its refund is made; said again, it stays as it is.

    Raises:
        Failure: ILLEGAL_TRANSITION where no refund is outstanding, or another one was made.
    """
    if cancellation.status is CancellationStatus.DONE and cancellation.refund_id == refund_id:
        return cancellation
    if cancellation.status is not CancellationStatus.REFUNDING:
        raise illegal_transition(cancellation.status, CancellationStatus.DONE)
    return replace(cancellation, status=CancellationStatus.DONE, refund_id=refund_id, complete_time=now)


def refund_refused(cancellation: Cancellation, failure: str) -> Cancellation:
    """Return a REFUNDING cancellation as it is once the provider refuses its refund for good."""
    return replace(cancellation, status=CancellationStatus.REFUND_FAILED, failure=failure)


def refund_asked_anew(cancellation: Cancellation) -> Cancellation:
    """Return the cancellation as it is once its refund is asked for again; one whose refund is under way stays.

    Raises:
        Failure: ILLEGAL_TRANSITION where no refund is due.
    """
    if cancellation.status is CancellationStatus.REFUND_FAILED:
        return replace(cancellation, status=CancellationStatus.REFUNDING, failure=None)
    is_due = cancellation.status in {CancellationStatus.REFUNDING, CancellationStatus.DONE}
    if is_due and cancellation.refund_amount > 0:
        return cancellation
    raise illegal_transition(cancellation.status, CancellationStatus.REFUNDING)


def checked_in(ticket_id: UUID, check_in_time: datetime | None) -> Failure:
    """Say that a gate was first."""
    # Absent where the scan service did not say when.
    time: dict[str, Any] = {"check_in_time": check_in_time.isoformat()} if check_in_time is not None else {}
    return Failure(Reason.TICKET_CHECKED_IN, "the ticket has been checked in", ticket_id=ticket_id, **time)
