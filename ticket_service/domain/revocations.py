"""Requests to the scan service to revoke tickets, and its answers.

The gate and the revocation compete for one row in the scan database, and the first of them decides.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class Revocation:
    """One ticket to revoke; the scan service decides each revocation_id once."""

    revocation_id: UUID
    ticket_id: UUID
    # The status that gates use from then on; ACTIVE if they must deny only older issues.
    status: TicketStatus
    # Gates deny codes and tokens of older issues from then on.
    issue: int
    # Revoke also a ticket that is checked in; the check-in stays valid.
    even_if_checked_in: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of the scan service: the ticket is revoked, or a gate has admitted the ticket before."""

    revoked: bool
    check_in_time: datetime | None = None
