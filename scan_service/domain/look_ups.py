"""Look-ups of tickets at a gate, for a person who can present neither token nor code."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ticketing.admission.scans import Gate
from ticketing.admission.tickets import Ticket


@dataclass(frozen=True, slots=True)
class LookUp:
    """A look-up that a gate requests."""

    gate: Gate
    text: str
    # The device, or the person or program that scans without one, and its roles.
    caller: str
    roles: frozenset[str]
    # The organizer to whose events the caller is restricted; None: every organizer is allowed.
    organizer_id: str | None


@dataclass(frozen=True, slots=True)
class HeldTicket:
    """A ticket that the ticket service has found, with its issue and the masked description of its holder."""

    ticket_id: UUID
    issue: int
    holder: str


@dataclass(frozen=True, slots=True)
class HeldTickets:
    """The answer of the ticket service."""

    tickets: Sequence[HeldTicket]
    # Further tickets match.
    more: bool


@dataclass(frozen=True, slots=True)
class FoundTicket:
    """A ticket with its admission state, and the pass by which the caller admits it."""

    ticket: Ticket
    holder: str
    look_up_pass: str


@dataclass(frozen=True, slots=True)
class FoundTickets:
    """The answer to a look-up."""

    tickets: Sequence[FoundTicket]
    more: bool
