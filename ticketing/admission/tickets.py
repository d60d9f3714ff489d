"""Events and tickets with the fields that an admission decision needs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticketing.admission.records import record


class EventStatus(StrEnum):
    """The state of an event; only PUBLISHED events admit, and DRAFT events of which a genuine token exists."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class AdmissionPolicy(StrEnum):
    """The number of times that one ticket is admitted."""

    SINGLE_ENTRY = "SINGLE_ENTRY"
    RE_ENTRY = "RE_ENTRY"
    UNLIMITED = "UNLIMITED"
    ONCE_PER_DAY = "ONCE_PER_DAY"


class TicketType(StrEnum):
    """The type of a ticket; the names are those of the contract."""

    STANDARD = "STANDARD"
    VIP = "VIP"
    EARLY_BIRD = "EARLY_BIRD"
    GROUP = "GROUP"


class TicketStatus(StrEnum):
    """The status that the ticket service or a revocation sets; check-ins do not change it."""

    ACTIVE = "ACTIVE"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"
    BLOCKED = "BLOCKED"
    # Only a device replica has this status: the ticket is denied for a reason that this version does not have.
    UNKNOWN = "UNKNOWN"


# A ticket never leaves these statuses.
FINAL_STATUSES = frozenset({TicketStatus.CANCELLED, TicketStatus.REFUNDED})


@dataclass(frozen=True, slots=True)
class Event:
    """The conditions that all tickets of an event share."""

    event_id: UUID
    organizer_id: str
    name: str
    status: EventStatus
    policy: AdmissionPolicy
    # The value is None in an event that was cancelled before the feed delivered it.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    # RevokeEvent closes the event, whatever its status is.
    closed: bool
    # The IANA name.
    time_zone: str = "UTC"
    # The hour at which a day of the event begins, 0 to 23; None: see `days`.
    day_change_hour: int | None = None


@record(frozen=True, slots=True)
class CheckIn:
    """An admitted check-in."""

    scan_id: UUID
    time: datetime
    location: str


@record(frozen=True, slots=True)
class AdmissionState:
    """The admission state of a ticket: the result of its effective scans."""

    # The first check-in that is not annulled.
    check_in_time: datetime | None = None
    # The latest check-in that is not annulled.
    latest_check_in: CheckIn | None = None
    inside: bool = False
    # Each change of check_in_time increments the sequence.
    sequence: int = 0


@record(frozen=True, slots=True)
class Ticket:
    """One ticket and its admission state."""

    event_id: UUID
    ticket_id: UUID
    # The value is None where a revocation came before the feed.
    ticket_type: TicketType | None
    status: TicketStatus
    # The times of a day ticket; None: the times of the event apply.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    # The newest issue; older ones are denied.
    issue: int
    code_digest: bytes
    token_digest: bytes | None
    admission: AdmissionState = AdmissionState()
    # The purchase of a GROUP ticket, where the replica has it; None otherwise.
    purchase_id: UUID | None = None
