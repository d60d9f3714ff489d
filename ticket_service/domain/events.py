"""Events, their offers and their status at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.access import organizer_of
from ticketing.chassis.callers import Caller, Role

# 10 million in a currency of cents: 2**31 such prices still fit a BIGINT.
MAX_PRICE: Final = 1_000_000_000


class EventType(StrEnum):
    """The type of an event."""

    CONFERENCE = "CONFERENCE"
    WORKSHOP = "WORKSHOP"
    WEBINAR = "WEBINAR"
    SERIES = "SERIES"
    OTHER = "OTHER"


class EventStatus(StrEnum):
    """The status of an event; COMPLETED is derived when read, never stored."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class TicketType(StrEnum):
    """The type of a ticket."""

    STANDARD = "STANDARD"
    VIP = "VIP"
    EARLY_BIRD = "EARLY_BIRD"
    GROUP = "GROUP"


class AdmissionPolicy(StrEnum):
    """The number of times that one ticket is admitted."""

    SINGLE_ENTRY = "SINGLE_ENTRY"
    RE_ENTRY = "RE_ENTRY"
    UNLIMITED = "UNLIMITED"
    ONCE_PER_DAY = "ONCE_PER_DAY"


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of an event's price list; prices in minor units of the event's currency."""

    ticket_type: TicketType
    price: int
    capacity: int | None = None
    reserved: int = 0
    sales_start_time: datetime | None = None
    sales_end_time: datetime | None = None
    min_per_purchase: int = 1
    # None: the bound of the service applies.
    max_per_purchase: int | None = None
    valid_from_time: datetime | None = None
    valid_until_time: datetime | None = None
    # The bounds of one customer, of this type; 0: the offer has no bound of its own.
    max_held_per_customer: int = 0
    max_tickets_per_customer: int = 0


@dataclass(frozen=True, slots=True)
class RefundTier:
    """A percentage of the price that is refunded for a cancellation at least `days_before` whole days before the start."""

    days_before: int
    percent: int


DEFAULT_REFUND_TIERS: Final = (RefundTier(7, 100), RefundTier(3, 50))


@dataclass(frozen=True, slots=True)
class Event:
    """An event for which tickets are sold."""

    event_id: UUID
    organizer_id: str
    name: str
    description: str
    event_type: EventType
    status: EventStatus
    start_time: datetime
    end_time: datetime
    doors_open_time: datetime | None
    time_zone: str
    location: str
    is_online: bool
    max_participants: int | None
    reserved: int
    currency: str
    ticket_price: int
    offers: tuple[Offer, ...]
    # Empty: the default policy applies.
    refund_tiers: tuple[RefundTier, ...]
    admission_policy: AdmissionPolicy
    image_url: str
    metadata: Mapping[str, object]
    create_time: datetime
    update_time: datetime
    # The number grows with every change that gates need, of the event or of one of its tickets.
    revision: int
    # The revision of the last change of the event itself.
    changed_revision: int
    # The number grows when an organizer changes the event or its status, not with sales.
    version: int
    # The bounds of one customer, of all types; None: those of the service apply; 0: no bound.
    max_held_per_customer: int | None = None
    max_tickets_per_customer: int | None = None
    # The hour at which a day of the event begins, for gates; None: the admission policy decides.
    day_change_hour: int | None = None
    # Gates of the event may look tickets up by their holder or purchase.
    allow_gate_look_up: bool = False
    # Gates of the event may show the name of the holder after a scan.
    show_holder_name: bool = False

    def status_at(self, now: datetime) -> EventStatus:
        """Return the status as of `now`."""
        if self.status is EventStatus.PUBLISHED and now >= self.end_time:
            return EventStatus.COMPLETED
        return self.status

    def is_visible_to(self, caller: Caller) -> bool:
        """Return whether the caller may see the event: a draft only as its organizer or as an operator."""
        is_theirs = organizer_of(caller) == self.organizer_id or caller.is_any(Role.OPERATOR)
        return is_theirs or self.status is not EventStatus.DRAFT

    def offer(self, ticket_type: TicketType) -> Offer | None:
        """Return the offer of a ticket type, or None."""
        for offer in self.offers:
            if offer.ticket_type is ticket_type:
                return offer
        return None

    @property
    def etag(self) -> str:
        """Return the version as text; an update with another etag is refused, so that no update is lost."""
        return str(self.version)

    @property
    def admits_from(self) -> datetime:
        """Return the time from which gates admit."""
        return self.doors_open_time or self.start_time
