"""Tickets and what their status is when read."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.events import AdmissionPolicy, TicketType


class TicketStatus(StrEnum):
    """Where a ticket is; USED and EXPIRED are derived when read, never stored."""

    ACTIVE = "ACTIVE"
    USED = "USED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"
    BLOCKED = "BLOCKED"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right of one person to enter one event, as stored."""

    ticket_id: UUID
    event_id: UUID
    purchase_id: UUID
    user_id: str
    ticket_type: TicketType
    status: TicketStatus
    price: int
    # Its own only where its offer has one (day tickets); otherwise the event's.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    check_in_time: datetime | None
    issue: int
    revision: int
    create_time: datetime
    update_time: datetime


def status_at(ticket: Ticket, policy: AdmissionPolicy, valid_until: datetime, now: datetime) -> TicketStatus:
    """Return the status of `ticket` as of `now`; `valid_until` is its own or its event's."""
    if ticket.status is not TicketStatus.ACTIVE:
        return ticket.status
    if ticket.check_in_time is not None and policy is AdmissionPolicy.SINGLE_ENTRY:
        return TicketStatus.USED
    return TicketStatus.EXPIRED if now > valid_until else TicketStatus.ACTIVE
