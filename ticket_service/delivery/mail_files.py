"""Decide which files a mail carries: those of each ticket, or one page file and one calendar for all of a large order.

A mail with three files for each of 160 tickets is refused by mail servers, and takes a mail program minutes to show.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ticket_service.delivery.emails import Attachments, Email, is_valid
from ticket_service.domain.drawings import Drawing, PrintedTicket, print_ticket
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat

# The pages of so many tickets stay far below 10 MB, beyond which mail servers refuse mails.
MAX_TICKETS: Final = 200


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file of a mail before it is drawn."""

    drawing: Drawing
    name: str
    # Set for a picture that the text shows.
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class FileStyle:
    """The settings and the language of the files of one mail."""

    language: str
    design: PageDesign
    now: datetime
    # The number of tickets up to which each ticket has files of its own.
    max_separate: int

    def drawing(
        self, ticket_format: TicketFormat, tickets: Sequence[PrintedTicket], *, is_removal: bool = False
    ) -> Drawing:
        """Describe a file of tickets."""
        return Drawing(ticket_format, tuple(tickets), self.language, self.now, is_removal, self.design)


def split(email: Email) -> list[Email]:
    """Split a mail so that each part has at most MAX_TICKETS tickets."""
    tickets = email.tickets
    chunks = [tickets[start : start + MAX_TICKETS] for start in range(0, len(tickets), MAX_TICKETS)] or [tickets]
    return [replace(email, tickets=chunk, part=n, parts=len(chunks)) for n, chunk in enumerate(chunks, start=1)]


def files_of(email: Email, secrets: Sequence[Secrets], style: FileStyle) -> list[MailFile]:
    """Return the files of a mail.

    Args:
        email: the mail, whose tickets are at most MAX_TICKETS.
        secrets: the code and the token of each ticket, in the same order.
        style: what the files of a mail have in common.
    """
    if email.attachments is Attachments.NONE:
        return []
    printed = [print_ticket(sold, its) for sold, its in zip(email.tickets, secrets, strict=True)]
    shown = [ticket for ticket in printed if shows_code(email, ticket.sold)]
    removed = [ticket for ticket in printed if not shows_code(email, ticket.sold)]
    if len(printed) > style.max_separate:
        return list(_common_files(shown, removed, style))
    return [
        *(file for ticket in shown for file in _files_of_ticket(ticket, style)),
        *(_removal([ticket], str(ticket.sold.ticket.ticket_id), style) for ticket in removed),
    ]


def shows_code(email: Email, sold: SoldTicket) -> bool:
    """Return whether a mail shows the code of a ticket."""
    return email.attachments is Attachments.TICKET and is_valid(sold)


def content_id(sold: SoldTicket) -> str:
    """Return the id of the picture of a ticket within its mail."""
    return f"{sold.ticket.ticket_id}@ticketing"


def _files_of_ticket(ticket: PrintedTicket, style: FileStyle) -> Iterator[MailFile]:
    formats = {TicketFormat.PNG: content_id(ticket.sold), TicketFormat.PDF: "", TicketFormat.ICS: ""}
    for ticket_format, its_content_id in formats.items():
        drawing = style.drawing(ticket_format, [ticket])
        yield MailFile(drawing, f"{ticket.secrets.code}.{ticket_format.lower()}", its_content_id)


def _common_files(
    shown: Sequence[PrintedTicket], removed: Sequence[PrintedTicket], style: FileStyle
) -> Iterator[MailFile]:
    if shown:
        yield MailFile(style.drawing(TicketFormat.PDF, shown), "tickets.pdf")
        yield MailFile(style.drawing(TicketFormat.ICS, shown), "tickets.ics")
    if removed:
        yield _removal(removed, "removed", style)


def _removal(tickets: Sequence[PrintedTicket], name: str, style: FileStyle) -> MailFile:
    # The file name contains no code, which may belong to another holder now.
    return MailFile(style.drawing(TicketFormat.ICS, tickets, is_removal=True), f"{name}.ics")
