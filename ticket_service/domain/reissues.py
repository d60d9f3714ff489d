"""Giving a ticket a new issue, for the same holder or for another: who may, and how it goes on. Pure.

PENDING until the scan service has confirmed that codes and tokens of older issues open no gate, then DONE; REJECTED
where a gate was first or the ticket was given back meanwhile.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.cancellations import HEAD_START, checked_in
from ticket_service.domain.check_ins import GIVEN_BACK
from ticket_service.domain.reasons import Reason
from ticket_service.domain.revocations import Outcome, Revocation
from ticket_service.domain.tickets import SoldTicket, Ticket, TicketStatus
from ticketing.chassis.failures import Failure


class ReissueStatus(StrEnum):
    """How far a reissue is."""

    PENDING = "PENDING"
    DONE = "DONE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class ReissueRequest:
    """What somebody asks for."""

    # Who asks, and under which id.
    caller: str
    request_id: UUID
    ticket_id: UUID
    # The new holder; None: the ticket stays whose it is.
    user_id: str | None = None
    # Where the new holder is mailed.
    email: str = ""


@dataclass(frozen=True, slots=True)
class Reissue:
    """A new issue of one ticket."""

    reissue_id: UUID
    event_id: UUID
    ticket_id: UUID
    caller: str
    request_id: UUID
    issue: int
    user_id: str | None
    email: str
    status: ReissueStatus
    create_time: datetime
    # The check-in that was first, with REJECTED.
    check_in_time: datetime | None = None
    complete_time: datetime | None = None
    # When the sweeper is to look at it; None: nothing is left to it.
    due_time: datetime | None = None
    attempts: int = 0

    @property
    def revocation(self) -> Revocation:
        """What the scan service is asked for; a holder who is inside may have a new code, but not become another."""
        return Revocation(
            self.reissue_id, self.ticket_id, TicketStatus.ACTIVE, self.issue, even_if_checked_in=self.user_id is None
        )


def requested(sold: SoldTicket, request: ReissueRequest, reissue_id: UUID, now: datetime) -> Reissue:
    """Return the reissue of a ticket of which none is PENDING.

    Raises:
        Failure: CANCELLATION_PENDING, TICKET_NOT_ACTIVE or, of a transfer, TICKET_CHECKED_IN.
    """
    ticket, status = sold.ticket, sold.status_at(now)
    if sold.cancellation_id is not None and status not in GIVEN_BACK:
        raise Failure(
            Reason.CANCELLATION_PENDING,
            "the ticket is being given back",
            ticket_id=ticket.ticket_id,
            cancellation_id=sold.cancellation_id,
        )
    if status not in {TicketStatus.ACTIVE, TicketStatus.USED}:
        raise not_active(ticket.ticket_id, status)
    if request.user_id is not None and ticket.check_in_time is not None:
        raise checked_in(ticket.ticket_id, ticket.check_in_time)
    return Reissue(
        reissue_id=reissue_id,
        event_id=ticket.event_id,
        ticket_id=ticket.ticket_id,
        caller=request.caller,
        request_id=request.request_id,
        issue=ticket.issue + 1,
        user_id=request.user_id,
        email=request.email,
        status=ReissueStatus.PENDING,
        create_time=now,
        due_time=now + HEAD_START,
    )


def settled(reissue: Reissue, ticket: Ticket, outcome: Outcome, now: datetime) -> Reissue:
    """Return a PENDING reissue as it is once the scan service has answered."""
    # Once gates deny the older issue the new one is due, whatever else is under way: without it nobody could get in.
    is_done = outcome.revoked and ticket.status not in GIVEN_BACK
    return replace(
        reissue,
        status=ReissueStatus.DONE if is_done else ReissueStatus.REJECTED,
        check_in_time=outcome.check_in_time,
        complete_time=now,
        due_time=None,
    )


def reissued(ticket: Ticket, reissue: Reissue, revision: int, now: datetime) -> Ticket:
    """Return the ticket once its reissue is DONE."""
    return replace(
        ticket, issue=reissue.issue, user_id=reissue.user_id or ticket.user_id, revision=revision, update_time=now
    )


def rejection(reissue: Reissue, ticket: Ticket) -> Failure:
    """Say why a reissue is REJECTED."""
    if ticket.status in GIVEN_BACK:
        return not_active(ticket.ticket_id, ticket.status)
    return checked_in(ticket.ticket_id, reissue.check_in_time)


def withheld(ticket: Ticket, revision: int, now: datetime, *, blocked: bool) -> Ticket:
    """Return the ticket as it is once withheld, or let go again; one that is so already stays as it is.

    Raises:
        Failure: TICKET_NOT_ACTIVE where it was given back.
    """
    if ticket.status in GIVEN_BACK:
        raise not_active(ticket.ticket_id, ticket.status)
    status = TicketStatus.BLOCKED if blocked else TicketStatus.ACTIVE
    return ticket if ticket.status is status else replace(ticket, status=status, revision=revision, update_time=now)


def not_active(ticket_id: UUID, status: TicketStatus) -> Failure:
    """Say that the ticket is no longer what it would have to be."""
    return Failure(Reason.TICKET_NOT_ACTIVE, f"the ticket is {status}", ticket_id=ticket_id, status=status)
