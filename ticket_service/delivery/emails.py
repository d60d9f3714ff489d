"""Decide which mails a notification causes: one for each address, not one for each ticket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.calendar_entries import (
    CalendarOrganizer,
    Holder,
    TicketEntry,
    entries_of,
    holder_of,
)
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.tickets import SoldTicket

# Holders need no mail about their own check-ins; requested refunds and incidents concern the organizer.
MAILED: Final = (
    Kind.PURCHASE_COMPLETED,
    Kind.HOLD_EXPIRED,
    Kind.EMAIL_CORRECTED,
    Kind.TICKET_CANCELLED,
    Kind.TICKET_REISSUED,
    Kind.TICKET_TRANSFERRED,
    Kind.REFUND_MADE,
    Kind.REFUND_FAILED,
    Kind.EVENT_CHANGED,
    Kind.EVENT_CANCELLED,
)


class Attachments(StrEnum):
    """The files that a mail has."""

    NONE = "NONE"
    # QR code and page of each valid ticket, and the calendar entries.
    TICKET = "TICKET"
    # The calendar entries; one is removed with the last ticket.
    CALENDAR = "CALENDAR"


@dataclass(frozen=True, slots=True)
class Email:
    """A mail before it is written."""

    address: str
    # The name of its texts in the file of a language.
    text: str
    attachments: Attachments
    event: Event
    tickets: tuple[SoldTicket, ...]
    notification: Notification
    # The normalised BCP 47 tag of the purchase; "" if the buyer named no language.
    language: str
    # The calendar entries of the tickets, one for each holder and hours.
    entries: tuple[TicketEntry, ...] = ()
    # The number of this mail among those into which a large order is split.
    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class MailContext:
    """A notification and the stored state that its mails show."""

    notification: Notification
    event: Event
    # The tickets of the notification; empty before the payment.
    tickets: Sequence[SoldTicket]
    # The addresses of the buyer and of the holder of each ticket, also of the held ones; "" if unknown or erased.
    buyer: str
    holders: Mapping[UUID, str]
    organizer: CalendarOrganizer
    # The address of the holder before a transfer.
    previous_holder: str = ""
    language: str = ""
    # The present tickets of each holder for the event, for the calendar entries.
    held: Mapping[Holder, Sequence[SoldTicket]] = field(default_factory=dict)

    def address_of(self, sold: SoldTicket) -> str:
        """Return the address of the holder of a ticket."""
        return self.holders.get(sold.ticket.ticket_id, "")

    @property
    def previous_tickets(self) -> list[SoldTicket]:
        """Return the tickets of a transfer as they were before, for the previous holder's calendar."""
        user_id = str(self.notification.data.get("previous_user_id", ""))
        return [replace(sold, ticket=replace(sold.ticket, user_id=user_id)) for sold in self.tickets]


def emails_for(context: MailContext) -> list[Email]:
    """Return the mails of a notification: none if no address is known or no ticket is concerned."""
    kind = context.notification.kind
    if kind is Kind.TICKET_CANCELLED and context.event.status is EventStatus.CANCELLED:
        # The mail about the cancelled event has announced the refund.
        return []
    if not context.tickets:
        if kind in {Kind.EVENT_CHANGED, Kind.EMAIL_CORRECTED}:
            # Every ticket was cancelled meanwhile, or the purchase is not paid.
            return []
        return _email(context, context.buyer, kind, Attachments.NONE, ())
    by_address: dict[str, list[SoldTicket]] = {}
    for sold in context.tickets:
        by_address.setdefault(context.address_of(sold), []).append(sold)
    found = [
        email
        for address, tickets in by_address.items()
        for email in _email(context, address, _text(context.notification), _attachments(kind), tickets)
    ]
    if kind is Kind.TICKET_TRANSFERRED:
        before = context.previous_tickets
        found += _email(context, context.previous_holder, f"{kind}.away", Attachments.CALENDAR, before)
    return found


def _text(notification: Notification) -> str:
    """Return the name of the text; a mail to a corrected address is the one that the old address got."""
    if notification.kind is not Kind.EMAIL_CORRECTED:
        return notification.kind
    return Kind.PURCHASE_COMPLETED if notification.ticket_id is None else Kind.TICKET_TRANSFERRED


def _attachments(kind: Kind) -> Attachments:
    match kind:
        case (
            Kind.PURCHASE_COMPLETED
            | Kind.TICKET_REISSUED
            | Kind.TICKET_TRANSFERRED
            | Kind.EVENT_CHANGED
            | Kind.EMAIL_CORRECTED
        ):
            return Attachments.TICKET
        case Kind.TICKET_CANCELLED | Kind.EVENT_CANCELLED:
            return Attachments.CALENDAR
        case _:
            return Attachments.NONE


def _email(
    context: MailContext, address: str, text: str, attachments: Attachments, tickets: Sequence[SoldTicket]
) -> list[Email]:
    if not address:
        return []
    entries = () if attachments is Attachments.NONE else _entries(context, address, tickets)
    email = Email(address, text, attachments, context.event, tuple(tickets), context.notification, context.language)
    return [replace(email, entries=entries)]


def _entries(context: MailContext, address: str, tickets: Sequence[SoldTicket]) -> tuple[TicketEntry, ...]:
    by_holder: dict[Holder, list[SoldTicket]] = {}
    for sold in tickets:
        by_holder.setdefault(holder_of(sold, address), []).append(sold)
    found = []
    for holder, its in by_holder.items():
        held = context.held.get(holder, ())
        # A user may have bought for somebody else: a mail shows no codes that were mailed to another address.
        found += entries_of(
            holder, its, held, context.organizer, lambda sold: context.address_of(sold).lower() == address.lower()
        )
    return tuple(found)
