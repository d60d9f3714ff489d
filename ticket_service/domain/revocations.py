"""What the scan service is asked to take back, and what it answers: who comes first, the gate or we, wins."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class Revocation:
    """One admission right to take back; settled once under its id."""

    revocation_id: UUID
    ticket_id: UUID
    # What gates say from then on; ACTIVE where only older issues are to stop working.
    status: TicketStatus
    # Codes and tokens of an older issue are denied from then on.
    issue: int
    # Do it although a check-in stands, which goes on standing.
    even_if_checked_in: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the scan service answered: no gate admits the ticket any more, or one already has."""

    revoked: bool
    check_in_time: datetime | None = None
