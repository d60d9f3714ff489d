"""Events and tickets as a gate needs them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class EventStatus(StrEnum):
    """Where an event is in its life; PUBLISHED admits."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class AdmissionPolicy(StrEnum):
    """How often one ticket opens a gate."""

    SINGLE_ENTRY = "SINGLE_ENTRY"
    RE_ENTRY = "RE_ENTRY"
    UNLIMITED = "UNLIMITED"


class TicketType(StrEnum):
    """The kinds of ticket."""

    STANDARD = "STANDARD"
    VIP = "VIP"
    EARLY_BIRD = "EARLY_BIRD"
    GROUP = "GROUP"


class TicketStatus(StrEnum):
    """What the ticket service or a revocation says of a ticket; what was checked in stands apart from it."""

    ACTIVE = "ACTIVE"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"
    BLOCKED = "BLOCKED"


# Never left again.
FINAL = frozenset({TicketStatus.CANCELLED, TicketStatus.REFUNDED})


@dataclass(frozen=True, slots=True)
class Event:
    """What holds for all of an event's tickets."""

    event_id: UUID
    organizer_id: str
    name: str
    status: EventStatus
    policy: AdmissionPolicy
    # Absent in an event that was called off before the feed brought it.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    # Called off by the ticket service, whatever the status says.
    closed: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A check-in that was admitted."""

    scan_id: UUID
    time: datetime
    location: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What the gates have made of a ticket."""

    # The first check-in that stands.
    check_in_time: datetime | None = None
    # The latest one.
    entry: Entry | None = None
    inside: bool = False
    # Grows whenever check_in_time changes.
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """One ticket: what it is, and what the gates have made of it."""

    event_id: UUID
    ticket_id: UUID
    # Absent where a revocation came before the feed.
    ticket_type: TicketType | None
    status: TicketStatus
    # Its own only for day tickets; otherwise the event's.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    # The newest that works.
    issue: int
    code_digest: bytes
    token_digest: bytes | None
    admission: Admission = Admission()
