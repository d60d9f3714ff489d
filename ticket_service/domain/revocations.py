"""Requests to the scan service to revoke tickets, and its answers.

The gate and the revocation compete for one row in the scan database; whichever is first wins.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class Revocation:
    """One ticket to revoke; the scan service settles it once per revocation_id."""

    revocation_id: UUID
    ticket_id: UUID
    # The status that gates see from then on; ACTIVE where only older issues are to stop working.
    status: TicketStatus
    # Gates deny codes and tokens of older issues from then on.
    issue: int
    # Revoke also a ticket that is checked in; the check-in stays valid.
    even_if_checked_in: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of the scan service: the ticket is revoked, or a gate has admitted it before."""

    revoked: bool
    check_in_time: datetime | None = None
