"""Purchases: the orders of buyers, each for one event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.events import TicketType

# The provider of a purchase that costs nothing.
FREE: Final = "free"
# The caller's own payment system. Every other provider is the name of a payment provider that the service calls.
EXTERNAL: Final = "external"


class PurchaseStatus(StrEnum):
    """The status of a purchase."""

    HELD = "HELD"
    COMPLETED = "COMPLETED"
    EXPIRED = "EXPIRED"
    RELEASED = "RELEASED"
    DECLINED = "DECLINED"
    REFUNDING = "REFUNDING"
    REFUNDED = "REFUNDED"


@dataclass(frozen=True, slots=True)
class Item:
    """A number of tickets of one type, and their price each."""

    ticket_type: TicketType
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """One buyer's order; amounts in minor units of `currency`."""

    purchase_id: UUID
    event_id: UUID
    user_id: str
    items: tuple[Item, ...]
    currency: str
    total: int
    status: PurchaseStatus
    provider: str
    # The provider's own id; None for a free purchase.
    payment_id: str | None
    metadata: Mapping[str, object]
    create_time: datetime
    complete_time: datetime | None
    # The time when the hold expires or expired; None: the purchase was never held.
    hold_expire_time: datetime | None = None
    # The time when the sweeper processes the purchase next, while HELD.
    due_time: datetime | None = None
    # The method that this service's provider charges, while HELD; None: the caller's own system captures the payment.
    payment_method: str | None = None
    # The buyer's front end finishes the payment with this secret, while HELD.
    client_secret: str | None = None
    # The reason why the provider declined.
    decline_code: str | None = None
    # The version of the event at which the purchase was made; None: a process of an older version made it.
    event_version: int | None = None
    # A service or an organizer bought for nobody by name; `user_id` is then the seller, and an address the customer.
    is_guest: bool = False
    # The normalised BCP 47 tag of the mails and files; "": the buyer named none.
    language: str = ""
