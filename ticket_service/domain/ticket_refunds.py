"""Decide refunds of a part of a ticket's price without a cancellation."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.provider_rules import ProviderRules
from ticket_service.domain.refund_amounts import check_amount
from ticket_service.domain.refusals import Instead, refund_not_confirmable
from ticket_service.domain.tickets import SoldTicket


class TicketRefundStatus(StrEnum):
    """The status of a refund without a cancellation."""

    REFUNDING = "REFUNDING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Payer:
    """The payment that completed the purchase of a ticket."""

    provider: str
    payment_id: str


@dataclass(frozen=True, slots=True)
class PaidTicket:
    """A ticket and what was paid and refunded for it."""

    sold: SoldTicket
    # None: the ticket was free.
    payer: Payer | None
    # The refund of the ticket's cancellation, in minor units.
    cancelled: int


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A request to refund a part of a ticket's price."""

    # The user id of the caller. With `request_id` it is the idempotency key.
    caller: str
    request_id: UUID
    ticket_id: UUID
    # The currency and the amount in minor units.
    amount: tuple[str, int]
    reason: str


@dataclass(frozen=True, slots=True)
class TicketRefund:
    """A refund of a part of a ticket's price, in minor units."""

    event_id: UUID
    # The refund order at a provider of this service has the same id.
    ticket_refund_id: UUID
    ticket_id: UUID
    purchase_id: UUID
    provider: str
    payment_id: str
    currency: str
    amount: int
    reason: str
    # The user id of the organizer or service that requested the refund.
    caller: str
    create_time: datetime
    status: TicketRefundStatus = TicketRefundStatus.REFUNDING
    refund_id: str | None = None
    complete_time: datetime | None = None


def request(
    ticket: PaidTicket, wanted: RefundRequest, refund_id: UUID, now: datetime, rules: ProviderRules | None
) -> TicketRefund:
    """Return the refund that an organizer requests at `now`, rounded up by the rules of the provider, if it has any.

    Raises:
        Failure: REFUND_OUT_OF_RANGE.
    """
    sold, payer = ticket.sold, ticket.payer
    left = 0 if payer is None else sold.ticket.refundable - ticket.cancelled
    amount = check_amount(sold, wanted.amount, 1, left)
    if payer is None:
        raise AssertionError("unreachable: nothing is left of a free ticket")
    if rules is not None:
        amount = rules.refundable(sold.event.currency, amount, left)
    return TicketRefund(
        event_id=sold.ticket.event_id,
        ticket_refund_id=refund_id,
        ticket_id=sold.ticket.ticket_id,
        purchase_id=sold.ticket.purchase_id,
        provider=payer.provider,
        payment_id=payer.payment_id,
        currency=sold.event.currency,
        amount=amount,
        reason=wanted.reason,
        caller=wanted.caller,
        create_time=now,
    )


def record_refund(refund: TicketRefund, refund_id: str, now: datetime) -> TicketRefund:
    """Return a REFUNDING refund as DONE; a repetition changes nothing.

    Raises:
        Failure: ILLEGAL_TRANSITION if another refund was made.
    """
    if refund.status is TicketRefundStatus.DONE:
        if refund.refund_id == refund_id:
            return refund
        raise refund_not_confirmable(refund.status, refund.provider, Instead.NOTHING)
    return replace(refund, status=TicketRefundStatus.DONE, refund_id=refund_id, complete_time=now)


def reopen(refund: TicketRefund) -> TicketRefund:
    """Return a refund as REFUNDING: its money came back after it was made."""
    return replace(refund, status=TicketRefundStatus.REFUNDING, refund_id=None, complete_time=None)
