"""Decide whether a ticket can be cancelled, how much is refunded for it, and how a cancellation proceeds.

A cancellation is PENDING until the scan service has confirmed that no gate will admit the ticket, then REFUNDING or
DONE. It is REJECTED if a gate had already checked the ticket in. The amount is computed at the request. It changes
if the event is cancelled before the scan service answers: then it becomes the full price. Before the refund is ordered,
the amount is rounded up to one that the payment provider refunds.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.provider_rules import ProviderRules
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refund_amounts import check_amount
from ticket_service.domain.refund_policy import FULL_PERCENT, RefundBasis
from ticket_service.domain.refusals import Instead, illegal_transition, refund_not_confirmable, ticket_checked_in
from ticket_service.domain.revocations import Outcome, Revocation
from ticket_service.domain.tickets import SoldTicket, TicketStatus
from ticketing.chassis.failures import Failure

# The wait before the sweeper tries: during it, the request itself calls the scan service.
SWEEPER_DELAY: Final = timedelta(seconds=5)


class CancellationStatus(StrEnum):
    """The status of a cancellation."""

    PENDING = "PENDING"
    REFUNDING = "REFUNDING"
    DONE = "DONE"
    REJECTED = "REJECTED"
    REFUND_FAILED = "REFUND_FAILED"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The cancellation of one ticket."""

    cancellation_id: UUID
    event_id: UUID
    ticket_id: UUID
    issue: int
    status: CancellationStatus
    currency: str
    refund_amount: int
    refund_percent: int
    reason: str
    create_time: datetime
    refund_id: str | None = None
    failure: str | None = None
    # The check-in for which the cancellation is REJECTED.
    check_in_time: datetime | None = None
    complete_time: datetime | None = None
    # The time when the sweeper tries next; None: the sweeper has nothing to do.
    due_time: datetime | None = None
    attempts: int = 0
    # True: while the cancellation was PENDING, the scan service reported that no check-in of the ticket stands.
    check_in_annulled: bool = False
    # The reason for the amount; None: a process of an older version recorded the cancellation.
    refund_basis: RefundBasis | None = None

    @property
    def ticket_status(self) -> TicketStatus:
        """Return the status of the ticket once it is cancelled."""
        return TicketStatus.REFUNDED if self.refund_amount > 0 else TicketStatus.CANCELLED

    @property
    def revocation(self) -> Revocation:
        """Return the request to the scan service."""
        return Revocation(self.cancellation_id, self.ticket_id, self.ticket_status, self.issue)


def request(
    sold: SoldTicket, cancellation_id: UUID, reason: str, now: datetime, wanted: tuple[str, int] | None = None
) -> Cancellation:
    """Return the first cancellation of a ticket.

    `wanted` are the currency and the amount that an organizer refunds; None: what the terms grant.

    Raises:
        Failure: TICKET_CHECKED_IN, TICKET_NOT_CANCELLABLE or REFUND_OUT_OF_RANGE.
    """
    ticket = sold.ticket
    if ticket.check_in_time is not None:
        # RE_ENTRY is no exception: no ticket is both used and refunded.
        raise ticket_checked_in(ticket.ticket_id, ticket.check_in_time)
    status = sold.status_at(now)
    if status is not TicketStatus.ACTIVE:
        raise Failure(
            Reason.TICKET_NOT_CANCELLABLE, f"the ticket is {status}", ticket_id=ticket.ticket_id, status=status
        )
    granted = sold.refund_at(now)
    amount, percent, basis = granted.amount, granted.percent, granted.basis
    if wanted is not None:
        amount = check_amount(sold, wanted, amount, ticket.refundable)
        percent = max(percent, amount * FULL_PERCENT // max(ticket.price, 1))
        basis = RefundBasis.CALLER if amount > granted.amount else basis
    return Cancellation(
        cancellation_id=cancellation_id,
        event_id=ticket.event_id,
        ticket_id=ticket.ticket_id,
        issue=ticket.issue,
        status=CancellationStatus.PENDING,
        currency=sold.event.currency,
        refund_amount=amount,
        refund_percent=percent,
        reason=reason,
        create_time=now,
        due_time=now + SWEEPER_DELAY,
        refund_basis=basis,
    )


def check_repetition(recorded: Cancellation, sold: SoldTicket, wanted: tuple[str, int]) -> None:
    """Raise TICKET_NOT_CANCELLABLE if the recorded cancellation of a ticket refunds less than an organizer wants."""
    currency, amount = wanted
    if currency != recorded.currency or amount > recorded.refund_amount:
        raise Failure(
            Reason.TICKET_NOT_CANCELLABLE,
            "the ticket was cancelled with a smaller refund; RefundTicket refunds more of its price",
            ticket_id=sold.ticket.ticket_id,
            status=recorded.ticket_status,
        )


def settle(cancellation: Cancellation, outcome: Outcome, now: datetime) -> Cancellation:
    """Apply the scan service's answer to a PENDING cancellation."""
    if not outcome.revoked:
        status = CancellationStatus.REJECTED
    elif cancellation.refund_amount > 0:
        status = CancellationStatus.REFUNDING
    else:
        status = CancellationStatus.DONE
    complete_time = None if status is CancellationStatus.REFUNDING else now
    return replace(
        cancellation, status=status, check_in_time=outcome.check_in_time, complete_time=complete_time, due_time=None
    )


def round_refund(cancellation: Cancellation, refundable: int, rules: ProviderRules) -> Cancellation:
    """Round the refund of a ticket up to an amount that the provider refunds, but to no more than `refundable`."""
    amount = rules.refundable(cancellation.currency, cancellation.refund_amount, refundable)
    return replace(cancellation, refund_amount=amount)


def request_again(rejected: Cancellation, cancellation_id: UUID, now: datetime) -> Cancellation:
    """Return the next cancellation of a ticket of a cancelled event, after a check-in that was annulled meanwhile.

    A gate was first, so the earlier cancellation is REJECTED; without a standing check-in the refund is due.
    """
    return replace(
        rejected,
        cancellation_id=cancellation_id,
        status=CancellationStatus.PENDING,
        create_time=now,
        check_in_time=None,
        complete_time=None,
        due_time=now,
        attempts=0,
        check_in_annulled=False,
    )


def record_refund(cancellation: Cancellation, refund_id: str, now: datetime) -> Cancellation:
    """Return a REFUNDING cancellation as DONE; a cancellation that is DONE by the same refund stays unchanged.

    Raises:
        Failure: ILLEGAL_TRANSITION if no refund is outstanding or another refund was made.
    """
    if cancellation.status is CancellationStatus.DONE and cancellation.refund_id == refund_id:
        return cancellation
    if cancellation.status is not CancellationStatus.REFUNDING:
        is_open = cancellation.status is CancellationStatus.PENDING
        raise refund_not_confirmable(cancellation.status, None, Instead.WAIT if is_open else Instead.NOTHING)
    return replace(cancellation, status=CancellationStatus.DONE, refund_id=refund_id, complete_time=now)


def record_payment_by_hand(cancellation: Cancellation, reference: str, now: datetime) -> Cancellation:
    """Return a cancellation whose refund the organizer paid by hand as DONE; a repetition changes nothing."""
    is_failed = cancellation.status is CancellationStatus.REFUND_FAILED
    return record_refund(retry_refund(cancellation) if is_failed else cancellation, reference, now)


def fail_refund(cancellation: Cancellation, failure: str) -> Cancellation:
    """Return a cancellation as REFUND_FAILED: the provider refuses the refund for good, or a made refund failed later."""
    return replace(
        cancellation,
        status=CancellationStatus.REFUND_FAILED,
        failure=failure,
        refund_id=None,
        complete_time=None,
    )


def recover_refund(cancellation: Cancellation, refund_id: str, now: datetime) -> Cancellation:
    """Return a REFUNDING or REFUND_FAILED cancellation as DONE: the money was returned after all."""
    return replace(cancellation, status=CancellationStatus.DONE, refund_id=refund_id, failure=None, complete_time=now)


def retry_refund(cancellation: Cancellation) -> Cancellation:
    """Return a REFUND_FAILED cancellation as REFUNDING; a refund in progress or made stays unchanged.

    Raises:
        Failure: ILLEGAL_TRANSITION if no refund is due.
    """
    if cancellation.status is CancellationStatus.REFUND_FAILED:
        return replace(cancellation, status=CancellationStatus.REFUNDING, failure=None)
    is_due = cancellation.status in {CancellationStatus.REFUNDING, CancellationStatus.DONE}
    if is_due and cancellation.refund_amount > 0:
        return cancellation
    raise illegal_transition(cancellation.status, CancellationStatus.REFUNDING)
