"""Decide whether a ticket gets a new issue, for the same holder or another holder, and how a reissue proceeds.

A reissue is PENDING until the scan service has confirmed that gates deny codes and tokens of older issues, then DONE.
It is REJECTED if a gate has admitted the ticket before, or if the ticket was cancelled meanwhile.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.cancellations import SWEEPER_DELAY
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import ticket_checked_in, ticket_not_active
from ticket_service.domain.revocations import Outcome, Revocation
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket, Ticket, TicketStatus
from ticketing.chassis.failures import Failure


class ReissueStatus(StrEnum):
    """The status of a reissue."""

    PENDING = "PENDING"
    DONE = "DONE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class ReissueRequest:
    """A request for a reissue or a transfer."""

    # The idempotency key.
    caller: str
    request_id: UUID
    ticket_id: UUID
    # The new holder; None: the holder stays.
    user_id: str | None = None
    # The e-mail address of the new holder.
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
    # The check-in for which the reissue is REJECTED.
    check_in_time: datetime | None = None
    complete_time: datetime | None = None
    # The time when the sweeper tries next; None: the reissue has ended.
    due_time: datetime | None = None
    attempts: int = 0

    @property
    def revocation(self) -> Revocation:
        """Return the request to the scan service; only a transfer is refused for a ticket that is checked in."""
        return Revocation(
            self.reissue_id, self.ticket_id, TicketStatus.ACTIVE, self.issue, even_if_checked_in=self.user_id is None
        )


def request(sold: SoldTicket, wanted: ReissueRequest, reissue_id: UUID, now: datetime) -> Reissue:
    """Return a new reissue of a ticket that has no PENDING one.

    Raises:
        Failure: CANCELLATION_PENDING, TICKET_NOT_ACTIVE or, of a transfer, TICKET_CHECKED_IN.
    """
    ticket, status = sold.ticket, sold.status_at(now)
    if sold.cancellation_id is not None and status not in CANCELLED_STATUSES:
        raise Failure(
            Reason.CANCELLATION_PENDING,
            "the ticket is being cancelled",
            ticket_id=ticket.ticket_id,
            cancellation_id=sold.cancellation_id,
        )
    if status not in {TicketStatus.ACTIVE, TicketStatus.USED}:
        raise ticket_not_active(ticket.ticket_id, status)
    if wanted.user_id is not None and ticket.check_in_time is not None:
        raise ticket_checked_in(ticket.ticket_id, ticket.check_in_time)
    return Reissue(
        reissue_id=reissue_id,
        event_id=ticket.event_id,
        ticket_id=ticket.ticket_id,
        caller=wanted.caller,
        request_id=wanted.request_id,
        issue=ticket.issue + 1,
        user_id=wanted.user_id,
        email=wanted.email,
        status=ReissueStatus.PENDING,
        create_time=now,
        due_time=now + SWEEPER_DELAY,
    )


def settle(reissue: Reissue, ticket: Ticket, outcome: Outcome, now: datetime) -> Reissue:
    """Apply the scan service's answer to a PENDING reissue."""
    # Gates deny the older issue from now on: without the new issue, no code or token of the ticket would be admitted.
    is_done = outcome.revoked and ticket.status not in CANCELLED_STATUSES
    return replace(
        reissue,
        status=ReissueStatus.DONE if is_done else ReissueStatus.REJECTED,
        check_in_time=outcome.check_in_time,
        complete_time=now,
        due_time=None,
    )


def apply_reissue(ticket: Ticket, reissue: Reissue, revision: int, now: datetime) -> Ticket:
    """Return the ticket with the issue and the holder of its DONE reissue."""
    # An erased recipient is "": the ticket then has no holder by name.
    user_id = ticket.user_id if reissue.user_id is None else reissue.user_id
    return replace(ticket, issue=reissue.issue, user_id=user_id, revision=revision, update_time=now)


def rejection(reissue: Reissue, ticket: Ticket) -> Failure:
    """Return the failure of a REJECTED reissue: TICKET_NOT_ACTIVE or TICKET_CHECKED_IN."""
    if ticket.status in CANCELLED_STATUSES:
        return ticket_not_active(ticket.ticket_id, ticket.status)
    return ticket_checked_in(ticket.ticket_id, reissue.check_in_time)


def set_blocked(ticket: Ticket, revision: int, now: datetime, *, blocked: bool) -> Ticket:
    """Return the ticket as BLOCKED or ACTIVE; a ticket in that status stays unchanged.

    Raises:
        Failure: TICKET_NOT_ACTIVE if the ticket is cancelled.
    """
    if ticket.status in CANCELLED_STATUSES:
        raise ticket_not_active(ticket.ticket_id, ticket.status)
    status = TicketStatus.BLOCKED if blocked else TicketStatus.ACTIVE
    return ticket if ticket.status is status else replace(ticket, status=status, revision=revision, update_time=now)
