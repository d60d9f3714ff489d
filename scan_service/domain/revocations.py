"""Taking admission rights back: who comes first, the gate or the revocation, wins."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from ticketing.admission.codes import Codes
from ticketing.admission.tickets import FINAL, Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class Revocation:
    """One ticket to take back."""

    revocation_id: UUID
    ticket_id: UUID
    # What gates say from now on; ACTIVE where only older issues are to stop working.
    status: TicketStatus
    # The oldest that works from now on.
    issue: int
    even_if_checked_in: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one."""

    ticket_id: UUID
    # The check-in that was first; None: revoked.
    check_in_time: datetime | None


def outcome_of(ticket: Ticket, revocation: Revocation) -> Outcome:
    """Say who was first."""
    stands = None if revocation.even_if_checked_in else ticket.admission.check_in_time
    return Outcome(ticket.ticket_id, stands)


def revoked(ticket: Ticket, revocation: Revocation, codes: Codes) -> Ticket:
    """Return the ticket as gates are to know it; a final status stays, and so does a newer issue."""
    if revocation.status in FINAL and ticket.status not in FINAL:
        ticket = replace(ticket, status=revocation.status)
    if revocation.issue <= ticket.issue:
        return ticket
    # The older code opens nothing from here on, and neither does a token by its digest.
    digest = codes.digest(codes.code(ticket.ticket_id, revocation.issue))
    return replace(ticket, issue=revocation.issue, code_digest=digest, token_digest=None)
