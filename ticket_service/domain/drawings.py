"""Drawings: tickets as a picture, page or calendar entry, described completely enough for another process to draw them."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from ticket_service.domain.calendar_entries import CalendarEntry
from ticket_service.domain.page_design import DEFAULT_DESIGN, PageDesign, Paper
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat


@dataclass(frozen=True, slots=True)
class PrintedTicket:
    """A ticket with the code and the token that are printed on it; `print_ticket` makes one."""

    # Counts and revisions are 0, because they change with every sale and nothing shows them.
    sold: SoldTicket
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Drawing:
    """A file to draw: tickets in one format."""

    format: TicketFormat
    # PNG and SVG contain one QR code, so exactly one ticket; PDF has one or more of one purchase, and ICS those whose codes
    # the entry shows.
    tickets: tuple[PrintedTicket, ...]
    # The normalised BCP 47 tag of the language of the texts; "" is the default language.
    language: str
    # The time of the drawing. A drawing of an earlier time may be used instead for some minutes.
    now: datetime
    # The calendar entry; set for ICS alone.
    entry: CalendarEntry | None = None
    # The design of pages; the metadata of the event may change it.
    design: PageDesign = DEFAULT_DESIGN
    # The paper of pages, whatever the design says; None: that of the design.
    paper: Paper | None = None


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The wishes of a caller for a drawing."""

    format: TicketFormat
    # The paper of pages; None: that of the event or of the service.
    paper: Paper | None = None
    # All tickets of the purchase are drawn, as the pages of one file.
    whole_purchase: bool = False


def print_ticket(sold: SoldTicket, secrets: Secrets) -> PrintedTicket:
    """Remove from a ticket what changes with every sale and is never drawn, so that equal drawings compare equal."""
    offers = tuple([replace(offer, reserved=0) for offer in sold.event.offers])
    event = replace(sold.event, reserved=0, revision=0, changed_revision=0, offers=offers)
    return PrintedTicket(replace(sold, ticket=replace(sold.ticket, revision=0), event=event), secrets)


def drawing_key(drawing: Drawing) -> bytes:
    """Return a digest that is equal for two drawings if their files show the same, except for the time of drawing."""
    if drawing.format in {TicketFormat.PNG, TicketFormat.SVG}:
        # These show nothing but the token, and a list of tickets needs many of them.
        shown: object = [ticket.secrets.token for ticket in drawing.tickets]
    else:
        shown = (drawing.tickets, drawing.language, drawing.entry, drawing.design, drawing.paper)
    return hashlib.sha256(f"{drawing.format} {shown!r}".encode()).digest()
