"""The filters of the lists that callers read.

The user_id "" selects the rows of the caller; for organizers, services and operators, all rows that they may see.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.cancellations import CancellationStatus
from ticket_service.domain.disputes import DisputeStatus
from ticket_service.domain.events import EventStatus, EventType
from ticket_service.domain.purchases import PurchaseStatus
from ticket_service.domain.tickets import TicketStatus


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
