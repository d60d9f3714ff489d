"""What gates need to know of events and tickets: no holder, no price, nothing that opens a gate."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.events import AdmissionPolicy, EventStatus, TicketType
from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class GateEvent:
    """An event as gates need it."""

    event_id: UUID
    name: str
    status: EventStatus
    admission_policy: AdmissionPolicy
    valid_from_time: datetime
    valid_until_time: datetime
    organizer_id: str
    # Of the last change of the event itself.
    changed_revision: int


@dataclass(frozen=True, slots=True)
class GateTicket:
    """A ticket as gates need it; the status is the stored one, so USED and EXPIRED come as ACTIVE."""

    # As it is told: PostgreSQL writes a UUID in a tenth of the time that Python takes.
    ticket_id: str
    ticket_type: TicketType
    status: TicketStatus
    # None: as the event's.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    code_digest: bytes
    token_digest: bytes | None
    issue: int
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Changes of one event, by revision: all of them up to `revision`."""

    event: GateEvent
    tickets: tuple[GateTicket, ...]
    revision: int
    # There are more than one page holds.
    is_cut: bool
