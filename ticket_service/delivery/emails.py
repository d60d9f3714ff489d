"""Which mails a notification leads to: one for each address, not for each ticket. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.check_ins import GIVEN_BACK
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.tickets import SoldTicket

# Who comes in knows it, and what refunds and incidents ask for is no affair of the holder's.
MAILED: Final = (
    Kind.PURCHASE_COMPLETED,
    Kind.HOLD_EXPIRED,
    Kind.TICKET_CANCELLED,
    Kind.TICKET_REISSUED,
    Kind.TICKET_TRANSFERRED,
    Kind.REFUND_MADE,
    Kind.REFUND_FAILED,
    Kind.EVENT_CHANGED,
    Kind.EVENT_CANCELLED,
)


class Attached(StrEnum):
    """What a mail brings along of each ticket."""

    NOTHING = "NOTHING"
    # QR code, page and calendar entry.
    TICKET = "TICKET"
    # What takes the entry out of the calendar.
    FAREWELL = "FAREWELL"


@dataclass(frozen=True, slots=True)
class Email:
    """One mail to be written."""

    address: str
    # Under which its texts stand.
    text: str
    attached: Attached
    event: Event
    tickets: tuple[SoldTicket, ...]
    notification: Notification
    # As the buyer's shop gave it, if it did.
    language: str


@dataclass(frozen=True, slots=True)
class Mailing:
    """What is known when a notification is to be mailed."""

    notification: Notification
    event: Event
    # Those that it is about; none before they are paid.
    tickets: Sequence[SoldTicket]
    # Of the buyer, and of the holder of each ticket; "" where it is not known, or was erased.
    buyer: str
    holders: Mapping[UUID, str]
    # Of whose ticket it was before a transfer.
    previous_holder: str = ""
    language: str = ""


def emails(mailing: Mailing) -> list[Email]:
    """Return the mails to write; none where nobody can be, or needs to be, told."""
    kind = mailing.notification.kind
    if kind is Kind.TICKET_CANCELLED and mailing.event.status is EventStatus.CANCELLED:
        # The mail that tells that the event is off has told that the money comes back.
        return []
    if not mailing.tickets:
        if kind is Kind.EVENT_CHANGED:
            # Everything was given back meanwhile.
            return []
        return _written(mailing, mailing.buyer, kind, Attached.NOTHING, ())
    by_address: dict[str, list[SoldTicket]] = {}
    for sold in mailing.tickets:
        by_address.setdefault(mailing.holders.get(sold.ticket.ticket_id, ""), []).append(sold)
    found = [
        email
        for address, tickets in by_address.items()
        for email in _written(mailing, address, kind, _attached(kind), tickets)
    ]
    if kind is Kind.TICKET_TRANSFERRED:
        found += _written(mailing, mailing.previous_holder, f"{kind}.away", Attached.FAREWELL, mailing.tickets)
    return found


def is_good(sold: SoldTicket) -> bool:
    """Tell whether a ticket is still worth showing at a gate."""
    return sold.ticket.status not in GIVEN_BACK and sold.event.status is not EventStatus.CANCELLED


def _attached(kind: Kind) -> Attached:
    match kind:
        case Kind.PURCHASE_COMPLETED | Kind.TICKET_REISSUED | Kind.TICKET_TRANSFERRED | Kind.EVENT_CHANGED:
            return Attached.TICKET
        case Kind.TICKET_CANCELLED | Kind.EVENT_CANCELLED:
            return Attached.FAREWELL
        case _:
            return Attached.NOTHING


def _written(
    mailing: Mailing, address: str, text: str, attached: Attached, tickets: Sequence[SoldTicket]
) -> list[Email]:
    if not address:
        return []
    return [Email(address, text, attached, mailing.event, tuple(tickets), mailing.notification, mailing.language)]
