"""Tickets and their status at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.access import acts_as, administers, sees
from ticket_service.domain.events import AdmissionPolicy, Event, EventStatus, TicketType
from ticket_service.domain.look_ups import shown_name
from ticket_service.domain.refund_policy import Refund, in_full
from ticket_service.domain.terms import PastTerms, full_refund_until, refund_owed
from ticketing.chassis.callers import Caller, Role


class TicketStatus(StrEnum):
    """The status of a ticket; USED and EXPIRED are derived when read, never stored."""

    ACTIVE = "ACTIVE"
    USED = "USED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"
    BLOCKED = "BLOCKED"


CANCELLED_STATUSES: Final = frozenset({TicketStatus.CANCELLED, TicketStatus.REFUNDED})


class TicketFormat(StrEnum):
    """The file format of a rendered ticket."""

    PNG = "PNG"
    SVG = "SVG"
    PDF = "PDF"
    ICS = "ICS"
    APPLE_WALLET = "APPLE_WALLET"
    GOOGLE_WALLET = "GOOGLE_WALLET"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The stored right of one holder to be admitted to one event."""

    ticket_id: UUID
    event_id: UUID
    purchase_id: UUID
    user_id: str
    ticket_type: TicketType
    status: TicketStatus
    price: int
    # The times are set only if the offer has a validity of its own (day tickets); otherwise the times of the event apply.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    check_in_time: datetime | None
    issue: int
    revision: int
    create_time: datetime
    update_time: datetime
    # The sum of the refunds without a cancellation, due or made.
    refunded: int = 0

    @property
    def refundable(self) -> int:
        """Return what a cancellation can refund at most."""
        return self.price - self.refunded


def status_at(ticket: Ticket, policy: AdmissionPolicy, valid_until: datetime, now: datetime) -> TicketStatus:
    """Return the status of `ticket` as of `now`; `valid_until` is the end of the ticket or of its event."""
    if ticket.status is not TicketStatus.ACTIVE:
        return ticket.status
    if ticket.check_in_time is not None and policy is AdmissionPolicy.SINGLE_ENTRY:
        return TicketStatus.USED
    return TicketStatus.EXPIRED if now > valid_until else TicketStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class SoldTicket:
    """A ticket with its event, and the fields of its purchase and cancellation that callers see."""

    ticket: Ticket
    event: Event
    buyer_id: str
    # The payment provider's id of the payment; "" for a free ticket.
    payment_id: str
    # The metadata of the purchase.
    metadata: Mapping[str, object]
    # The cancellation that is not REJECTED, or None.
    cancellation_id: UUID | None = None
    # The terms of the event that were replaced after the purchase, oldest first: the first are those at purchase.
    past_terms: tuple[PastTerms, ...] = ()
    # The normalised BCP 47 tag of the purchase's mails and files; "": the buyer named none.
    language: str = ""
    # A service or an organizer bought for nobody by name; `buyer_id` is then the seller.
    is_guest: bool = False

    @property
    def holder_name(self) -> str:
        """Return the name that the shop stored for the holder; "" if there is none, and after a transfer."""
        name = self.metadata.get("holder_name")
        return shown_name(name) if isinstance(name, str) and self.ticket.user_id == self.buyer_id else ""

    @property
    def full_refund_until(self) -> datetime | None:
        """Return the time until which the ticket is refunded in full because the event was moved after the purchase."""
        return full_refund_until(self.event, self.past_terms)

    def is_cancellable_at(self, now: datetime) -> bool:
        """Return whether the holder can cancel the ticket, unless a gate was first."""
        is_inside = self.ticket.check_in_time is not None
        return self.cancellation_id is None and not is_inside and self.status_at(now) is TicketStatus.ACTIVE

    def refund_at(self, now: datetime) -> Refund:
        """Return the refund for a cancellation at `now`, by the better of the terms at purchase and now.

        It is at most the price less the refunds without a cancellation.
        """
        if self.event.status is EventStatus.CANCELLED:
            # The cancellation of the event has not reached this ticket yet; its refund is the full price too.
            return in_full(self.ticket.refundable)
        owed = refund_owed(self.ticket.price, self.event, self.past_terms, now)
        return owed if owed.amount <= self.ticket.refundable else replace(owed, amount=self.ticket.refundable)

    @property
    def valid_from(self) -> datetime:
        """Return the time from which gates admit the ticket."""
        return self.ticket.valid_from_time or self.event.admits_from

    @property
    def valid_until(self) -> datetime:
        """Return the time until which gates admit the ticket."""
        return self.ticket.valid_until_time or self.event.end_time

    def status_at(self, now: datetime) -> TicketStatus:
        """Return the status as of `now`."""
        return status_at(self.ticket, self.event.admission_policy, self.valid_until, now)

    def is_visible_to(self, caller: Caller) -> bool:
        """Return whether the caller may see the ticket: the holder, a service, an operator, or the event's organizer."""
        return sees(caller, self.ticket.user_id, self.event.organizer_id)

    def may_be_opened_by(self, caller: Caller) -> bool:
        """Return whether the caller may see code and token: the holder, a service, or the event's organizer."""
        return acts_as(caller, self.ticket.user_id) or administers(caller, self.event.organizer_id)

    def may_show_payment_to(self, caller: Caller) -> bool:
        """Return whether the caller may see the payment: the buyer, a service, an operator, or the event's organizer."""
        is_known = caller.subject == self.buyer_id or caller.is_any(Role.OPERATOR)
        return is_known or administers(caller, self.event.organizer_id)


def ticket_hours(sold: SoldTicket) -> tuple[datetime, datetime]:
    """Return the start and the end of a ticket: of the day for a day ticket, otherwise of the event."""
    starts = max(sold.event.start_time, sold.ticket.valid_from_time or sold.event.start_time)
    ends = min(sold.event.end_time, sold.ticket.valid_until_time or sold.event.end_time)
    return (starts, ends) if starts < ends else (sold.event.start_time, sold.event.end_time)
