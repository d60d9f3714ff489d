"""Orders to refund through a payment provider of this service, and their progress.

An order is PENDING until the provider has confirmed the refund, then DONE. It is FAILED if the provider refuses the
refund and the organizer can retry.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.holds import Payment
from ticket_service.domain.payments import RefundProgress, RefundState
from ticket_service.domain.purchases import EXTERNAL, Purchase
from ticket_service.domain.refusals import Instead, refund_not_confirmable
from ticket_service.domain.ticket_refunds import TicketRefund

FIRST_ROUND: Final = 1
# The wait after the provider has refused a refund that no organizer can retry.
RETRY_INTERVAL: Final = timedelta(hours=1)


class RefundOrderStatus(StrEnum):
    """The status of an order to refund."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A refund that was made elsewhere."""

    # The payment system's id of the refund, or the reference of a payment by hand.
    refund_id: str
    # The refund was paid by hand after its provider had refused it.
    by_hand: bool


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """An amount that a provider is to refund, in minor units."""

    event_id: UUID
    # The provider stores this id with the refund.
    order_id: UUID
    purchase_id: UUID
    # None: the order refunds a late or second payment, or a ticket without a cancellation (then order_id is the refund).
    cancellation_id: UUID | None
    provider: str
    payment_id: str
    currency: str
    amount: int
    create_time: datetime
    # The time when the sweeper tries next; None: the order has ended.
    due_time: datetime | None
    status: RefundOrderStatus = RefundOrderStatus.PENDING
    # The round grows with each retry after the provider has refused.
    round: int = FIRST_ROUND
    refund_id: str | None = None
    failure: str | None = None
    complete_time: datetime | None = None
    # Tries so far, including the present one.
    attempts: int = 0
    # The organizer paid by hand after the provider had refused; refund_id is the reference of that payment.
    is_by_hand: bool = False
    # The part of the amount that outside refunds cover: the provider refunds the rest.
    credited: int = 0

    @property
    def remaining(self) -> int:
        """Return the amount that the provider is to refund."""
        return self.amount - self.credited

    @property
    def is_first_failure(self) -> bool:
        """Return whether an order that no organizer can retry has failed for the first time.

        The sweeper repeats the order every hour, and the organizer needs one notification, not one for each repetition.
        """
        return self.cancellation_id is None and self.failure is not None and self.round == FIRST_ROUND + 1


def order_of_payment(purchase: Purchase, payment: Payment, order_id: UUID, now: datetime) -> RefundOrder:
    """Return the order to refund a late or second payment in full."""
    currency, amount = payment.paid
    return RefundOrder(
        event_id=purchase.event_id,
        order_id=order_id,
        purchase_id=purchase.purchase_id,
        cancellation_id=None,
        provider=payment.provider,
        payment_id=payment.payment_id,
        currency=currency,
        amount=amount,
        create_time=now,
        due_time=now,
    )


def order_of_ticket(refund: TicketRefund) -> RefundOrder | None:
    """Return the order to make a refund at a provider; None: the caller's own payment system refunds."""
    if refund.provider == EXTERNAL:
        return None
    return RefundOrder(
        event_id=refund.event_id,
        order_id=refund.ticket_refund_id,
        purchase_id=refund.purchase_id,
        cancellation_id=None,
        provider=refund.provider,
        payment_id=refund.payment_id,
        currency=refund.currency,
        amount=refund.amount,
        create_time=refund.create_time,
        due_time=refund.create_time,
    )


def claim(order: RefundOrder, now: datetime, wait: timedelta) -> RefundOrder:
    """Count a try of the order, and make the next try due after `wait`.

    An order with a `failure` has no unanswered try, so only such an order can be paid by hand.
    """
    return replace(order, attempts=order.attempts + 1, due_time=now + wait, failure=None)


def apply_progress(order: RefundOrder, progress: RefundProgress, now: datetime) -> RefundOrder:
    """Apply the provider's answer to a PENDING order."""
    if progress.state is RefundState.WAITING:
        return order
    if progress.state is RefundState.MADE:
        return replace(
            order, status=RefundOrderStatus.DONE, refund_id=progress.refund_id, complete_time=now, due_time=None
        )
    if order.cancellation_id is None:
        # No organizer can retry the refund, so the sweeper repeats it until the cause is removed.
        return replace(order, failure=progress.failure, round=order.round + 1, due_time=now + RETRY_INTERVAL)
    return replace(order, status=RefundOrderStatus.FAILED, failure=progress.failure, due_time=None)


def recover(order: RefundOrder, refund_id: str, now: datetime) -> RefundOrder:
    """Return a FAILED order as DONE: the provider has made the refund after all."""
    return replace(
        order,
        status=RefundOrderStatus.DONE,
        round=order.round + 1,
        refund_id=refund_id,
        failure=None,
        complete_time=now,
        due_time=None,
    )


def fail_later(order: RefundOrder, failure: str, now: datetime) -> RefundOrder:
    """Return a DONE order whose refund failed later: FAILED, or PENDING in a new round if no organizer can retry it."""
    failed = replace(order, refund_id=None, failure=failure, complete_time=None)
    if order.cancellation_id is None:
        return replace(failed, status=RefundOrderStatus.PENDING, round=order.round + 1, due_time=now + RETRY_INTERVAL)
    return replace(failed, status=RefundOrderStatus.FAILED)


def without_credit(order: RefundOrder, amount: int) -> RefundOrder:
    """Return an order that is not DONE after `amount` of its credit has come back.

    A PENDING order begins a new round: the answer to a try under way is about another amount.
    """
    round_ = order.round + 1 if order.status is RefundOrderStatus.PENDING else order.round
    return replace(order, credited=order.credited - amount, round=round_)


def retry(order: RefundOrder, amount: int, now: datetime) -> RefundOrder:
    """Return a FAILED order as PENDING in a new round, with the amount of its cancellation."""
    return replace(order, status=RefundOrderStatus.PENDING, amount=amount, round=order.round + 1, due_time=now)


def confirm(order: RefundOrder, made: Confirmation, now: datetime) -> RefundOrder:
    """Return an order that the provider refused, and that was paid by hand, as DONE; a repetition changes nothing.

    Raises:
        Failure: ILLEGAL_TRANSITION if the refund was not paid by hand, because only the provider itself confirms its
            refunds, and if the provider made the refund or may still make it.
    """
    if order.is_by_hand and order.refund_id == made.refund_id and made.by_hand:
        return order
    if order.status is RefundOrderStatus.DONE:
        raise refund_not_confirmable(order.status, order.provider, Instead.NOTHING)
    if order.failure is None or not made.by_hand:
        instead = Instead.WAIT if order.failure is None else Instead.PAY_BY_HAND
        raise refund_not_confirmable(order.status, order.provider, instead)
    return replace(
        order,
        status=RefundOrderStatus.DONE,
        # Each refusal ends a round; a PENDING order has begun the next one already.
        round=order.round + (1 if order.status is RefundOrderStatus.FAILED else 0),
        refund_id=made.refund_id,
        complete_time=now,
        due_time=None,
        is_by_hand=True,
    )
