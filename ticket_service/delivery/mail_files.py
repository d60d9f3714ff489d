"""Decide which files a mail carries: a picture and a page of each ticket, or one file with the pages of a large order.

A mail with two files for each of 160 tickets is refused by mail servers, and takes a mail program minutes to show.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from ticket_service.delivery.emails import Attachments, Email
from ticket_service.domain.calendar_entries import is_valid
from ticket_service.domain.drawings import Drawing, PrintedTicket, print_ticket
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat
from ticket_service.domain.wallets import NO_WALLETS, Wallets

# The pages of so many tickets stay far below 10 MB, beyond which mail servers refuse mails.
MAX_TICKETS: Final = 200


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file of a mail before it is drawn."""

    drawing: Drawing
    # "": the content is the URL of a button, and no attachment.
    name: str
    # Set for a picture that the text shows.
    content_id: str = ""
    # The URL of a button for an attached file.
    url: str = ""


@dataclass(frozen=True, slots=True)
class FileStyle:
    """The settings and the language of the files of one mail."""

    language: str
    design: PageDesign
    now: datetime
    # The number of tickets up to which each ticket has files of its own.
    max_separate: int
    wallets: Wallets = NO_WALLETS

    def drawing(self, ticket_format: TicketFormat, tickets: Sequence[PrintedTicket]) -> Drawing:
        """Describe a file of tickets."""
        return Drawing(ticket_format, tuple(tickets), self.language, self.now, design=self.design)


def split(email: Email) -> list[Email]:
    """Split a mail so that each part has at most MAX_TICKETS tickets; the first part has all calendar entries."""
    tickets = email.tickets
    chunks = [tickets[start : start + MAX_TICKETS] for start in range(0, len(tickets), MAX_TICKETS)] or [tickets]
    return [
        replace(email, tickets=chunk, entries=email.entries if number == 1 else (), part=number, parts=len(chunks))
        for number, chunk in enumerate(chunks, start=1)
    ]


def files_of(email: Email, secrets: Mapping[UUID, Secrets], style: FileStyle) -> list[MailFile]:
    """Return the files of a mail.

    Args:
        email: the mail, whose tickets are at most MAX_TICKETS.
        secrets: the code and the token of each ticket of the mail and of its calendar entries, by the ticket's id.
        style: the settings and the language of the files.
    """
    shown = _printed([sold for sold in email.tickets if shows_code(email, sold)], secrets)
    return [*_pages(shown, style), *_calendars(email, secrets, style)]


def shows_code(email: Email, sold: SoldTicket) -> bool:
    """Return whether a mail shows the code of a ticket."""
    return email.attachments is Attachments.TICKET and is_valid(sold)


def content_id(sold: SoldTicket) -> str:
    """Return the id of the picture of a ticket within its mail."""
    return f"{sold.ticket.ticket_id}@ticketing"


def _pages(shown: Sequence[PrintedTicket], style: FileStyle) -> Iterator[MailFile]:
    if len(shown) > style.max_separate:
        yield MailFile(style.drawing(TicketFormat.PDF, shown), "tickets.pdf")
        return
    for ticket in shown:
        code = ticket.secrets.code
        yield MailFile(style.drawing(TicketFormat.PNG, [ticket]), f"{code}.png", content_id(ticket.sold))
        yield MailFile(style.drawing(TicketFormat.PDF, [ticket]), f"{code}.pdf")
        apple = style.wallets.apple
        if apple is not None and style.wallets.draws(TicketFormat.APPLE_WALLET, style.now):
            url = apple.link.replace("{ticket_id}", str(ticket.sold.ticket.ticket_id))
            yield MailFile(style.drawing(TicketFormat.APPLE_WALLET, [ticket]), f"{code}.pkpass", url=url)
        if style.wallets.draws(TicketFormat.GOOGLE_WALLET, style.now):
            yield MailFile(style.drawing(TicketFormat.GOOGLE_WALLET, [ticket]), "")


def _calendars(email: Email, secrets: Mapping[UUID, Secrets], style: FileStyle) -> Iterator[MailFile]:
    for number, found in enumerate(email.entries, start=1):
        drawing = replace(style.drawing(TicketFormat.ICS, _printed(found.tickets, secrets)), entry=found.entry)
        yield MailFile(drawing, "calendar.ics" if len(email.entries) == 1 else f"calendar-{number}.ics")


def _printed(tickets: Sequence[SoldTicket], secrets: Mapping[UUID, Secrets]) -> list[PrintedTicket]:
    return [print_ticket(sold, secrets[sold.ticket.ticket_id]) for sold in tickets]
