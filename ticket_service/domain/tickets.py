"""Tickets and what their status is when read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.events import AdmissionPolicy, Event, TicketType
from ticketing.chassis.authentication import Caller, Role


class TicketStatus(StrEnum):
    """Where a ticket is; USED and EXPIRED are derived when read, never stored."""

    ACTIVE = "ACTIVE"
    USED = "USED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"
    BLOCKED = "BLOCKED"


class TicketFormat(StrEnum):
    """The file format of a rendered ticket."""

    PNG = "PNG"
    SVG = "SVG"
    PDF = "PDF"
    ICS = "ICS"


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


@dataclass(frozen=True, slots=True)
class SoldTicket:
    """A ticket with what it takes to show and judge it: its event, and what its purchase and cancellation say."""

    ticket: Ticket
    event: Event
    buyer_id: str
    # The payment provider's; empty for a free one.
    payment_id: str
    # As given with the purchase.
    metadata: Mapping[str, object]
    # Of the cancellation that was not rejected, if there is one.
    cancellation_id: UUID | None = None

    @property
    def valid_from(self) -> datetime:
        """Gates admit from here on."""
        return self.ticket.valid_from_time or self.event.admits_from

    @property
    def valid_until(self) -> datetime:
        """Gates admit until here."""
        return self.ticket.valid_until_time or self.event.end_time

    def status_at(self, now: datetime) -> TicketStatus:
        """Return the status as of `now`."""
        return status_at(self.ticket, self.event.admission_policy, self.valid_until, now)

    def may_be_opened_by(self, caller: Caller) -> bool:
        """Tell whether the caller may see what opens a gate: the holder, who acts for them, or the organizer."""
        return caller.subject == self.ticket.user_id or self._is_administered_by(caller)

    def may_show_payment_to(self, caller: Caller) -> bool:
        """Tell whether the caller may see how it was paid: the buyer, who acts for them, or the organizer."""
        return caller.subject == self.buyer_id or self._is_administered_by(caller)

    def _is_administered_by(self, caller: Caller) -> bool:
        is_organizer = caller.is_any(Role.ORGANIZER) and caller.subject == self.event.organizer_id
        return is_organizer or caller.is_any(Role.SERVICE)
