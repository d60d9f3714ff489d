"""What the ticket service's feed tells, and what it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticketing.admission.tickets import Event, Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class Page:
    """A batch of one event's changes; the present state of what changed."""

    event: Event
    # The event's own last change.
    event_revision: int
    # Each with its revision.
    tickets: Sequence[tuple[Ticket, int]]
    # All changes up to here have been told.
    revision: int
    # Of the revisions; another one means that they began anew.
    epoch: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far the copy has come."""

    epoch: str
    # By event.
    revisions: dict[str, int]


@dataclass(frozen=True, slots=True)
class CheckIn:
    """What check-in of a ticket stands, as the ticket service is told."""

    event_id: str
    ticket_id: str
    # None: none stands any more.
    check_in_time: datetime | None
    # Grows with each change.
    sequence: int


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """An incident, as the ticket service is told."""

    event_id: str
    incident_id: str
    kind: str
    # None: none is known.
    ticket_id: str | None
    create_time: datetime
    # How many scans are involved, and where the latest of them was made.
    scan_count: int
    location: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A check-in that cannot be, as the ticket service sees it."""

    event_id: UUID
    ticket_id: UUID
    # None: it knows no such ticket.
    status: TicketStatus | None
