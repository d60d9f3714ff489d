"""What a provider of ours is to give back, and how an order goes on. Pure.

PENDING until the provider has confirmed, then DONE; FAILED where it refuses and somebody can ask for it anew.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.holds import Payment
from ticket_service.domain.payments import RefundProgress, RefundState
from ticket_service.domain.purchases import Purchase

# How soon what the provider refuses is asked for again, where nobody is there to ask for it.
ASK_ANEW: Final = timedelta(hours=1)


class RefundOrderStatus(StrEnum):
    """Where an order to refund is."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What a provider is to give back, in minor units."""

    event_id: UUID
    # By which the provider knows it too.
    order_id: UUID
    purchase_id: UUID
    # None: the payment came too late, or twice.
    cancellation_id: UUID | None
    provider: str
    payment_id: str
    currency: str
    amount: int
    create_time: datetime
    # When the sweeper is to look at it; None: nothing is left to it.
    due_time: datetime | None
    status: RefundOrderStatus = RefundOrderStatus.PENDING
    # Counts from 1 with every time that it was asked for anew after the provider had refused.
    round: int = 1
    refund_id: str | None = None
    failure: str | None = None
    complete_time: datetime | None = None
    # Tries so far, the present one included.
    attempts: int = 0


def order_of_payment(purchase: Purchase, payment: Payment, order_id: UUID, now: datetime) -> RefundOrder:
    """Return the order to give all of a payment back that came too late, or twice."""
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


def tried(order: RefundOrder, now: datetime, wait: timedelta) -> RefundOrder:
    """Return the order as it is before a try that is to be the only one for so long."""
    return replace(order, attempts=order.attempts + 1, due_time=now + wait)


def progressed(order: RefundOrder, progress: RefundProgress, now: datetime) -> RefundOrder:
    """Return a PENDING order as it is once the provider has answered."""
    if progress.state is RefundState.WAITING:
        return order
    if progress.state is RefundState.MADE:
        return replace(
            order, status=RefundOrderStatus.DONE, refund_id=progress.refund_id, complete_time=now, due_time=None
        )
    if order.cancellation_id is None:
        # Nobody is there to ask for it anew, so we do, until somebody has seen to it.
        return replace(order, failure=progress.failure, round=order.round + 1, due_time=now + ASK_ANEW)
    return replace(order, status=RefundOrderStatus.FAILED, failure=progress.failure, due_time=None)


def asked_anew(order: RefundOrder, now: datetime) -> RefundOrder:
    """Return a FAILED order as it is once somebody asks for it again."""
    return replace(order, status=RefundOrderStatus.PENDING, round=order.round + 1, due_time=now)
