"""What is asked of whoever takes the money and gives it back, and what they answer. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.purchases import Purchase

# What a buyer who waits needs for both steps of a charge; only then does the sweeper take over.
HEAD_START: Final = timedelta(seconds=5)
# How often we ask whether a buyer has finished with their bank, where they do not tell us.
LOOK_AGAIN: Final = timedelta(seconds=30)


class ChargeState(StrEnum):
    """Where a charge is."""

    # Nothing is taken before it is confirmed.
    CREATED = "CREATED"
    # The buyer, their bank, or the caller's own payment system is to act.
    WAITING = "WAITING"
    PAID = "PAID"
    DECLINED = "DECLINED"
    # Nothing will be taken any more.
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class Charge:
    """What a provider is to take, in minor units."""

    purchase_id: UUID
    event_id: UUID
    currency: str
    amount: int
    # The provider's own id of the payment method.
    payment_method: str | None
    # The provider's own id of it; None: not created yet, as far as we know.
    payment_id: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a charge is, by its provider."""

    state: ChargeState
    payment_id: str | None = None
    client_secret: str | None = None
    # Why it was declined; also of one that was withdrawn afterwards.
    decline_code: str | None = None


class RefundState(StrEnum):
    """Where a refund is, by its provider."""

    MADE = "MADE"
    WAITING = "WAITING"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class RefundProgress:
    """How far a refund is, by its provider."""

    state: RefundState
    refund_id: str | None = None
    # What the provider said, with REFUSED.
    failure: str | None = None


def charge_of(purchase: Purchase) -> Charge:
    """Return what is to be taken for a purchase."""
    return Charge(
        purchase.purchase_id,
        purchase.event_id,
        purchase.currency,
        purchase.total,
        purchase.payment_method,
        purchase.payment_id,
    )
