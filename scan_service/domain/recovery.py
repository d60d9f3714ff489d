"""The state of events, tickets and keys that a restored ticket service asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticketing.admission.tickets import AdmissionPolicy, EventStatus, TicketStatus, TicketType


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event as this database has it."""

    event_id: UUID
    organizer_id: str
    name: str
    status: EventStatus
    policy: AdmissionPolicy
    # None: the event was closed before the feed delivered it.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    time_zone: str
    day_change_hour: int | None
    closed: bool
    # The revision up to which all changes are replicated, in the present epoch of the feed.
    revision: int


@dataclass(frozen=True, slots=True)
class KnownRevocation:
    """A decided revocation of a ticket."""

    revocation_id: UUID
    create_time: datetime
    # The check-in that came first; None: the ticket was revoked.
    check_in_time: datetime | None


@dataclass(frozen=True, slots=True)
class KnownTicket:
    """A ticket as this database has it."""

    ticket_id: UUID
    # None: only a revocation has named the ticket.
    ticket_type: TicketType | None
    status: TicketStatus
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    issue: int
    # None unless the ticket is a GROUP ticket.
    purchase_id: UUID | None
    # The feed has delivered the ticket.
    is_replicated: bool
    # The first check-in that is not annulled.
    check_in_time: datetime | None
    sequence: int
    revocations: Sequence[KnownRevocation]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key of tokens; `key_id` and `activate_time` are None for one that is only known as retired."""

    key_id: int | None
    public_key: bytes
    activate_time: datetime | None
    retire_time: datetime | None
