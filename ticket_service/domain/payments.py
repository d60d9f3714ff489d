"""Charges and refunds that this service requests from a payment provider, and the provider's answers."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.purchases import Purchase

# The wait before the sweeper tries: during it, the request itself creates and confirms the charge.
SWEEPER_DELAY: Final = timedelta(seconds=5)
# The interval at which the sweeper asks whether the buyer's bank has approved a charge that no front end confirms.
POLL_INTERVAL: Final = timedelta(seconds=30)
# The longest interval, for a charge that a bank still processes after the end of the hold.
MAX_POLL_INTERVAL: Final = timedelta(minutes=15)


class ChargeState(StrEnum):
    """The state of a charge."""

    # The provider captures nothing before the charge is confirmed.
    CREATED = "CREATED"
    # The buyer, their bank, or the caller's own payment system is to act.
    WAITING = "WAITING"
    PAID = "PAID"
    DECLINED = "DECLINED"
    # The provider can capture nothing any more.
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount that a provider is to capture, in minor units."""

    purchase_id: UUID
    event_id: UUID
    currency: str
    amount: int
    # The provider's own id of the payment method.
    payment_method: str | None
    # The provider's own id of the charge; None: no id is stored yet.
    payment_id: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a charge at its provider."""

    state: ChargeState
    payment_id: str | None = None
    client_secret: str | None = None
    # The reason why the charge was declined; set also if the charge was withdrawn afterwards.
    decline_code: str | None = None


class RefundState(StrEnum):
    """The state of a refund at its provider."""

    MADE = "MADE"
    WAITING = "WAITING"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class RefundProgress:
    """A refund at its provider."""

    state: RefundState
    refund_id: str | None = None
    # The provider's error, with REFUSED.
    failure: str | None = None


def charge_of(purchase: Purchase) -> Charge:
    """Return the charge for a purchase."""
    return Charge(
        purchase.purchase_id,
        purchase.event_id,
        purchase.currency,
        purchase.total,
        purchase.payment_method,
        purchase.payment_id,
    )
