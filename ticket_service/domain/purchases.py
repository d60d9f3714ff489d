"""Purchases: one buyer's order for one event."""

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
    """Where a purchase is."""

    HELD = "HELD"
    COMPLETED = "COMPLETED"
    EXPIRED = "EXPIRED"
    RELEASED = "RELEASED"
    DECLINED = "DECLINED"
    REFUNDING = "REFUNDING"
    REFUNDED = "REFUNDED"


@dataclass(frozen=True, slots=True)
class Item:
    """So many tickets of one type."""

    ticket_type: TicketType
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """One buyer's order, as stored; amounts in minor units of `currency`."""

    purchase_id: UUID
    event_id: UUID
    user_id: str
    items: tuple[Item, ...]
    currency: str
    total: int
    status: PurchaseStatus
    provider: str
    # The provider's own; None for a free one.
    payment_id: str | None
    metadata: Mapping[str, object]
    create_time: datetime
    complete_time: datetime | None
    # Until when its places are, or were, kept; None: it was paid when it was made.
    hold_expire_time: datetime | None = None
    # When the sweeper is to look at it, while HELD.
    due_time: datetime | None = None
    # What a provider of ours is to charge, while HELD; None: somebody else takes the money.
    payment_method: str | None = None
    # What the buyer's front end finishes the payment with, while HELD.
    client_secret: str | None = None
    # Why the provider declined.
    decline_code: str | None = None
