"""Decide which mails a notification causes: one for each address, not one for each ticket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket

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
    """The files that a mail has for each ticket."""

    NONE = "NONE"
    # QR code, page and calendar entry.
    TICKET = "TICKET"
    # A calendar entry that removes the ticket from the calendar.
    CALENDAR_REMOVAL = "CALENDAR_REMOVAL"


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


@dataclass(frozen=True, slots=True)
class MailContext:
    """A notification and the stored state that its mails show."""

    notification: Notification
    event: Event
    # The tickets of the notification; empty before the payment.
    tickets: Sequence[SoldTicket]
    # The addresses of the buyer and of the holder of each ticket; "" if unknown or erased.
    buyer: str
    holders: Mapping[UUID, str]
    # The address of the holder before a transfer.
    previous_holder: str = ""
    language: str = ""


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
        by_address.setdefault(context.holders.get(sold.ticket.ticket_id, ""), []).append(sold)
    found = [
        email
        for address, tickets in by_address.items()
        for email in _email(context, address, _text(context.notification), _attachments(kind), tickets)
    ]
    if kind is Kind.TICKET_TRANSFERRED:
        removal = Attachments.CALENDAR_REMOVAL
        found += _email(context, context.previous_holder, f"{kind}.away", removal, context.tickets)
    return found


def is_valid(sold: SoldTicket) -> bool:
    """Return whether neither the ticket nor its event is cancelled."""
    return sold.ticket.status not in CANCELLED_STATUSES and sold.event.status is not EventStatus.CANCELLED


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
            return Attachments.CALENDAR_REMOVAL
        case _:
            return Attachments.NONE


def _email(
    context: MailContext, address: str, text: str, attachments: Attachments, tickets: Sequence[SoldTicket]
) -> list[Email]:
    if not address:
        return []
    return [Email(address, text, attachments, context.event, tuple(tickets), context.notification, context.language)]
