"""The filters of the lists that callers read.

The user_id "" selects the rows of the caller; for organizers, services and operators, all rows that they may see.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.cancellations import CancellationStatus
from ticket_service.domain.disputes import DisputeStatus
from ticket_service.domain.events import EventStatus, EventType
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.tickets import SoldTicket, TicketStatus


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A filter of ListEvents."""

    status: EventStatus
    event_type: EventType | None
    min_start_time: datetime | None


@dataclass(frozen=True, slots=True)
class PurchaseQuery:
    """A filter of ListPurchases."""

    event_id: UUID | None
    user_id: str
    payment_id: str = ""
    # The address of the buyer, in upper or lower case.
    email: str = ""
    status: PurchaseStatus | None = None

    @property
    def is_of_user_alone(self) -> bool:
        """Return whether the filter is one of user, event and status, all of which a purchase itself shows."""
        return not self.payment_id and not self.email

    def selects(self, purchase: Purchase) -> bool:
        """Return whether the filter selects a purchase of its user."""
        is_of_event = self.event_id is None or purchase.event_id == self.event_id
        return is_of_event and (self.status is None or purchase.status is self.status)


@dataclass(frozen=True, slots=True)
class TicketQuery:
    """A filter of ListTickets."""

    status: TicketStatus | None
    event_id: UUID | None
    user_id: str
    # The address of the holder, in upper or lower case.
    email: str = ""
    # A text that describes the holder, for a search within one event, as gates look tickets up.
    holder: str = ""

    @property
    def is_of_user_alone(self) -> bool:
        """Return whether the filter is one of user, event and status, all of which a ticket itself shows."""
        return not self.email and not self.holder

    def selects(self, sold: SoldTicket, now: datetime) -> bool:
        """Return whether the filter selects a ticket of its user, with the status as of `now`."""
        is_of_event = self.event_id is None or sold.event.event_id == self.event_id
        return is_of_event and (self.status is None or sold.status_at(now) is self.status)


@dataclass(frozen=True, slots=True)
class CancellationQuery:
    """A filter of ListCancellations."""

    status: CancellationStatus | None
    event_id: UUID | None
    user_id: str


@dataclass(frozen=True, slots=True)
class DisputeQuery:
    """A filter of ListDisputes."""

    status: DisputeStatus | None
    event_id: UUID | None


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """A filter of ListChanges; every part that is set must apply."""

    event_id: UUID | None
    purchase_id: UUID | None
    ticket_id: UUID | None
    caller: str
