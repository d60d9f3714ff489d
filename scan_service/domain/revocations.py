"""Revocations: a ticket is either checked in first or revoked first, never both."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from ticketing.admission.codes import Codes
from ticketing.admission.tickets import FINAL_STATUSES, Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class Revocation:
    """A request to revoke one ticket, or its older issues."""

    revocation_id: UUID
    ticket_id: UUID
    # The status that gates apply from now on; ACTIVE where only older issues are revoked.
    status: TicketStatus
    # The oldest issue that is valid from now on.
    issue: int
    even_if_checked_in: bool


@dataclass(frozen=True, slots=True)
class RevocationOutcome:
    """The outcome of one revocation."""

    ticket_id: UUID
    # The check-in that came first; None: the ticket is revoked.
    check_in_time: datetime | None


def decide_outcome(ticket: Ticket, revocation: Revocation) -> RevocationOutcome:
    """Decide whether the revocation or a check-in came first."""
    check_in_time = None if revocation.even_if_checked_in else ticket.admission.check_in_time
    return RevocationOutcome(ticket.ticket_id, check_in_time)


def apply_revocation(ticket: Ticket, revocation: Revocation, codes: Codes) -> Ticket:
    """Return the revoked ticket; a final status and a newer issue remain."""
    if revocation.status in FINAL_STATUSES and ticket.status not in FINAL_STATUSES:
        ticket = replace(ticket, status=revocation.status)
    if revocation.issue <= ticket.issue:
        return ticket
    # From now on, the code of the older issue finds no ticket, and the digest of its token proves nothing.
    digest = codes.digest(codes.code(ticket.ticket_id, revocation.issue))
    return replace(ticket, issue=revocation.issue, code_digest=digest, token_digest=None)
