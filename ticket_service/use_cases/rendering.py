"""Render tickets as pictures, pages and calendar entries."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ticket_service.adapters.drawers import Drawers, Turn
from ticket_service.domain.calendar_entries import TicketEntry
from ticket_service.domain.drawings import Drawing, PrintedTicket, print_ticket
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.refusals import ticket_not_active
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket, TicketFormat
from ticketing.chassis.authentication import Caller, Role

SecretsOf = Callable[[SoldTicket], Secrets]

MEDIA_TYPES: Final = {
    TicketFormat.PNG: "image/png",
    TicketFormat.SVG: "image/svg+xml",
    TicketFormat.PDF: "application/pdf",
    TicketFormat.ICS: "text/calendar",
}
# The calls of one caller that may wait for a drawing. A backend calls for many users.
MAX_WAITING: Final = 8
MAX_WAITING_OF_A_SERVICE: Final = 32


@dataclass(frozen=True, slots=True)
class RenderedTicket:
    """A ticket as a file."""

    media_type: str
    file_name: str
    content: bytes


class Rendering:
    """The use cases of drawing tickets for callers; `language` is that of purchases that name none."""

    def __init__(self, drawers: Drawers, language: str, design: PageDesign) -> None:
        self._drawers = drawers
        self._language = language
        self._design = design

    async def render(
        self, caller: Caller, ticket: PrintedTicket, ticket_format: TicketFormat, now: datetime
    ) -> RenderedTicket:
        """Draw a picture or page of a ticket; raise TICKET_NOT_ACTIVE for a cancelled ticket, or OVERLOADED."""
        sold = ticket.sold
        if sold.ticket.status in CANCELLED_STATUSES:
            raise ticket_not_active(sold.ticket.ticket_id, sold.ticket.status)
        printed = print_ticket(sold, ticket.secrets)
        drawing = Drawing(ticket_format, (printed,), sold.language or self._language, now, design=self._design)
        content = await self._drawers.draw(drawing, _turn(caller))
        file_name = f"{ticket.secrets.code}.{ticket_format.lower()}"
        return RenderedTicket(MEDIA_TYPES[ticket_format], file_name, content)

    async def render_entry(
        self, caller: Caller, ticket: PrintedTicket, found: TicketEntry, secrets: SecretsOf, now: datetime
    ) -> RenderedTicket:
        """Draw the calendar entry of a ticket, or its removal if the holder has no valid ticket; raise OVERLOADED."""
        printed = tuple([print_ticket(sold, secrets(sold)) for sold in found.tickets])
        drawing = Drawing(TicketFormat.ICS, printed, ticket.sold.language or self._language, now, found.entry)
        content = await self._drawers.draw(drawing, _turn(caller))
        return RenderedTicket(MEDIA_TYPES[TicketFormat.ICS], f"{ticket.secrets.code}.ics", content)

    async def qr_code_urls(self, caller: Caller, tickets: Sequence[PrintedTicket], now: datetime) -> list[str]:
        """Draw the QR codes of tickets as PNGs in data URLs (RFC 2397), in order; raise OVERLOADED."""
        drawings = [Drawing(TicketFormat.PNG, (ticket,), "", now) for ticket in tickets]
        pictures = await self._drawers.draw_each(drawings, _turn(caller))
        return [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in pictures]


def _turn(caller: Caller) -> Turn:
    is_backend = caller.is_any(Role.SERVICE)
    return Turn(caller.subject, MAX_WAITING_OF_A_SERVICE if is_backend else MAX_WAITING)
