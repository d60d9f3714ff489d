"""Decide which entries the calendar of a holder has, and when an entry is removed.

A holder has one entry for all their tickets of an event with the same hours, however they were bought; day tickets with
hours of their own have entries of their own. An entry is removed with the last valid ticket that it is for.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from typing import Final
from uuid import UUID

from ticket_service.domain.events import EventStatus
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket, ticket_hours

# RFC 5545 has integers of 32 bits, with a sign.
MAX_SEQUENCE: Final = 2**31 - 1
# An organizer without an address: RFC 6761 reserves the domain, so that no mail is ever delivered there.
NO_ADDRESS: Final = "noreply@ticketing.invalid"


@dataclass(frozen=True, slots=True)
class Holder:
    """The person whose calendar has an entry; exactly one field is set."""

    user_id: str = ""
    # A guest has no user id; the address is in lower case.
    address: str = ""
    # A guest without an address, or an erased user.
    purchase_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class CalendarOrganizer:
    """The sender of calendar entries, whom RFC 5546 requires."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """One entry of a holder's calendar."""

    # Stays the same for as long as the holder has a ticket, also when the event moves.
    uid: str
    # Grows with every change of the event and of its tickets.
    sequence: int
    name: str
    location: str
    time_zone: str
    starts: datetime
    ends: datetime
    update_time: datetime
    organizer: CalendarOrganizer
    # No valid ticket is left: the calendar removes the entry.
    is_removed: bool


@dataclass(frozen=True, slots=True)
class TicketEntry:
    """An entry, and the valid tickets whose codes it shows."""

    entry: CalendarEntry
    tickets: tuple[SoldTicket, ...]


def organizer_of(mail_from: str) -> CalendarOrganizer:
    """Return the organizer of entries: the sender of mails, such as `Concert Hall <tickets@example.com>`, or nobody."""
    name, address = parseaddr(mail_from)
    return CalendarOrganizer(name, address or NO_ADDRESS)


def holder_of(sold: SoldTicket, address: str) -> Holder:
    """Return the holder of a ticket; `address` is the stored address of the holder, "" if there is none."""
    is_held_by_seller = sold.is_guest and sold.ticket.user_id == sold.buyer_id
    if sold.ticket.user_id and not is_held_by_seller:
        return Holder(user_id=sold.ticket.user_id)
    return Holder(address=address.lower()) if address else Holder(purchase_id=sold.ticket.purchase_id)


def is_valid(sold: SoldTicket) -> bool:
    """Return whether neither the ticket nor its event is cancelled."""
    return sold.ticket.status not in CANCELLED_STATUSES and sold.event.status is not EventStatus.CANCELLED


def method_of(entry: CalendarEntry) -> str:
    """Return the iTIP method by which an entry is sent, also a parameter of its MIME part (RFC 6047)."""
    return "CANCEL" if entry.is_removed else "PUBLISH"


def entries_of(
    holder: Holder,
    concerned: Sequence[SoldTicket],
    held: Sequence[SoldTicket],
    organizer: CalendarOrganizer,
    may_show: Callable[[SoldTicket], bool] = lambda _: True,
) -> list[TicketEntry]:
    """Return the present entries of a holder that tickets belong to, one for each hours.

    Args:
        holder: the person whose calendar is meant; after a transfer, the previous holder has entries as well.
        concerned: tickets of one event that the holder has, or had.
        held: all tickets that the holder has for the event.
        organizer: the sender of the entries.
        may_show: whether the reader of the entries may see the code of a ticket.
    """
    by_hours: dict[_OwnHours, list[SoldTicket]] = {}
    for sold in concerned:
        by_hours.setdefault(_own_hours(sold), []).append(sold)
    found = []
    for own_hours, tickets in by_hours.items():
        left = [sold for sold in held if is_valid(sold) and _own_hours(sold) == own_hours]
        spans = [ticket_hours(sold) for sold in left or tickets]
        event = tickets[0].event
        entry = CalendarEntry(
            uid=_uid(event.event_id, holder, own_hours),
            # The revision grows with every change of a ticket, the version with every change of the event.
            sequence=min(event.revision + event.version, MAX_SEQUENCE),
            name=event.name,
            location=event.location,
            time_zone=event.time_zone,
            starts=min(starts for starts, _ in spans),
            ends=max(ends for _, ends in spans),
            update_time=max(event.update_time, *(sold.ticket.update_time for sold in [*left, *tickets])),
            organizer=organizer,
            is_removed=not left,
        )
        found.append(TicketEntry(entry, tuple([sold for sold in left if may_show(sold)])))
    return found


# The validity of a day ticket; None: the ticket has the hours of its event.
_OwnHours = tuple[datetime | None, datetime | None] | None


def _own_hours(sold: SoldTicket) -> _OwnHours:
    """Return the hours by which a ticket has an entry of its own.

    The terms at purchase decide, because they never change: an event that moves keeps the UIDs of its entries.
    """
    terms = sold.past_terms[0].terms if sold.past_terms else sold.event
    given = sold.ticket.valid_from_time, sold.ticket.valid_until_time
    starts, ends = max(terms.start_time, given[0] or terms.start_time), min(terms.end_time, given[1] or terms.end_time)
    return None if starts >= ends or (starts, ends) == (terms.start_time, terms.end_time) else given


def _uid(event_id: UUID, holder: Holder, own_hours: _OwnHours) -> str:
    """Return the UID of an entry; it shows no address, because people pass entries on."""
    hours = ["" if time is None else f"{time.timestamp():.0f}" for time in own_hours or ()]
    # Never changed: the entries in people's calendars are found by it.
    key = "\0".join([str(event_id), holder.user_id, holder.address, str(holder.purchase_id or ""), *hours])
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}@ticketing"
