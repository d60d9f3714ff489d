"""The data that the scan service receives from the ticket service's feed and reports back to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticketing.admission.tickets import Event, Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The changes of one event: the present state of everything that changed."""

    event: Event
    # The revision of the event's own last change.
    event_revision: int
    # Each ticket with its revision.
    tickets: Sequence[tuple[Ticket, int]]
    # The page completes all changes up to this revision.
    revision: int
    # The epoch of the revisions; in another epoch, the revisions started over.
    epoch: str


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """The position of the replica in the feed."""

    epoch: str
    # The revision by event id.
    revisions: dict[str, int]


@dataclass(frozen=True, slots=True)
class CheckInReport:
    """The check-in of a ticket as reported to the ticket service."""

    event_id: str
    ticket_id: str
    # None: the ticket is not checked in any more.
    check_in_time: datetime | None
    # Each change of the check-in increments the sequence.
    sequence: int


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """An incident as reported to the ticket service."""

    event_id: str
    incident_id: str
    kind: str
    # None: the ticket is unknown.
    ticket_id: str | None
    create_time: datetime
    scan_count: int
    # The location of the latest scan.
    location: str


@dataclass(frozen=True, slots=True)
class CheckInConflict:
    """A reported check-in of a ticket that the ticket service does not accept as valid."""

    event_id: UUID
    ticket_id: UUID
    # None: the ticket service does not have the ticket.
    status: TicketStatus | None


@dataclass(frozen=True, slots=True)
class ReplicaPosition:
    """The position of the replica for one event."""

    epoch: str
    # None: no change of the event has arrived in this epoch.
    revision: int | None
    # The last time at which the replica was known to be complete, for all events.
    complete_time: datetime | None
    connected_devices: int
