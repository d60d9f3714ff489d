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
from ticket_service.domain.purchases import Purchase

# The wait after the provider has refused a refund that no organizer can retry.
RETRY_INTERVAL: Final = timedelta(hours=1)


class RefundOrderStatus(StrEnum):
    """The status of an order to refund."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """An amount that a provider is to refund, in minor units."""

    event_id: UUID
    # The provider stores this id with the refund.
    order_id: UUID
    purchase_id: UUID
    # None: the order refunds a late or second payment.
    cancellation_id: UUID | None
    provider: str
    payment_id: str
    currency: str
    amount: int
    create_time: datetime
    # The time when the sweeper tries next; None: the order has ended.
    due_time: datetime | None
    status: RefundOrderStatus = RefundOrderStatus.PENDING
    # The round starts at 1 and grows with each retry after the provider has refused.
    round: int = 1
    refund_id: str | None = None
    failure: str | None = None
    complete_time: datetime | None = None
    # Tries so far, including the present one.
    attempts: int = 0
    # The part of the amount that outside refunds cover: the provider refunds the rest.
    credited: int = 0

    @property
    def remaining(self) -> int:
        """Return the amount that the provider is to refund."""
        return self.amount - self.credited


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


def claim(order: RefundOrder, now: datetime, wait: timedelta) -> RefundOrder:
    """Count a try of the order, and make the next try due after `wait`."""
    return replace(order, attempts=order.attempts + 1, due_time=now + wait)


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


def without_credit(order: RefundOrder) -> RefundOrder:
    """Return an order after the outside refunds that covered it have come back."""
    return replace(order, credited=0)


def retry(order: RefundOrder, amount: int, now: datetime) -> RefundOrder:
    """Return a FAILED order as PENDING in a new round, with the amount of its cancellation."""
    return replace(order, status=RefundOrderStatus.PENDING, amount=amount, round=order.round + 1, due_time=now)
