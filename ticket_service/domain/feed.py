"""Events and tickets as the scan service needs them, without holders, prices, codes and tokens."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.events import AdmissionPolicy, EventStatus, TicketType
from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class GateEvent:
    """The part of an event that gates need."""

    event_id: UUID
    name: str
    status: EventStatus
    admission_policy: AdmissionPolicy
    valid_from_time: datetime
    valid_until_time: datetime
    organizer_id: str
    # The revision of the last change of the event itself.
    changed_revision: int
    time_zone: str
    day_change_hour: int | None


@dataclass(frozen=True, slots=True)
class GateTicket:
    """The part of a ticket that gates need; the stored status of a USED or EXPIRED ticket is ACTIVE."""

    # The text that is sent: PostgreSQL formats a UUID in a tenth of the time that Python takes.
    ticket_id: str
    ticket_type: TicketType
    status: TicketStatus
    # None: the times of the event apply.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    code_digest: bytes
    token_digest: bytes | None
    issue: int
    revision: int
    # The text that is sent; empty unless the type is GROUP.
    purchase_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """All changes of one event up to `revision`, by revision."""

    event: GateEvent
    tickets: tuple[GateTicket, ...]
    revision: int
    # The page is full, and more changes follow.
    is_cut: bool
