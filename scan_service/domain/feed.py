"""What the ticket service's feed tells."""

from collections.abc import Sequence
from dataclasses import dataclass

from scan_service.domain.tickets import Event, Ticket


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
