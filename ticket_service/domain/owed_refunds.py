"""Refunds that are owed and not made yet, for the organizer's list."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class OwedRefundStatus(StrEnum):
    """The status of a refund that is owed."""

    # The payment provider has the order.
    PENDING = "PENDING"
    # The payment provider refused.
    REFUSED = "REFUSED"
    # The caller's own payment system has to refund.
    REQUESTED = "REQUESTED"


@dataclass(frozen=True, slots=True)
class OwedRefund:
    """A refund that is owed, in minor units."""

    event_id: UUID
    # The position in the list, after since_time.
    owed_id: UUID
    purchase_id: UUID
    # None: the refund is of a late or second payment.
    ticket_id: UUID | None
    cancellation_id: UUID | None
    ticket_refund_id: UUID | None
    currency: str
    amount: int
    status: OwedRefundStatus
    provider: str
    payment_id: str
    # The provider's reason for its last refusal, with REFUSED.
    failure: str | None
    attempts: int
    since_time: datetime
    next_try_time: datetime | None


@dataclass(frozen=True, slots=True)
class OwedRefundQuery:
    """A filter of ListOwedRefunds."""

    event_id: UUID | None
    status: OwedRefundStatus | None
