"""Render tickets as pictures, pages and calendar entries."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ticket_service.adapters import rendering
from ticket_service.adapters.calendar import ics
from ticket_service.domain.refusals import ticket_not_active
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket, TicketFormat

Draw = Callable[[SoldTicket, Secrets, datetime], bytes]


@dataclass(frozen=True, slots=True)
class RenderedTicket:
    """A ticket as a file."""

    media_type: str
    file_name: str
    content: bytes


async def render(sold: SoldTicket, ticket_format: TicketFormat, secrets: Secrets, now: datetime) -> RenderedTicket:
    """Draw a ticket in a thread; raise TICKET_NOT_ACTIVE for a picture or page of a cancelled ticket."""
    status = sold.ticket.status
    # A calendar entry of a cancelled ticket removes the ticket from calendars.
    if status in CANCELLED_STATUSES and ticket_format is not TicketFormat.ICS:
        raise ticket_not_active(sold.ticket.ticket_id, status)
    media_type, draw = _DRAWN[ticket_format]
    content = await asyncio.to_thread(draw, sold, secrets, now)
    return RenderedTicket(media_type, f"{secrets.code}.{ticket_format.lower()}", content)


def qr_code_url(token: str) -> str:
    """Draw the QR code of a token as a data URL, in some milliseconds."""
    return rendering.png_data_url(token)


def _pdf(sold: SoldTicket, secrets: Secrets, now: datetime) -> bytes:
    # The thread of the first page imports the module: the library of fonts takes half a second to load.
    from ticket_service.adapters.page import pdf  # noqa: PLC0415

    return pdf(sold, secrets, now)


_DRAWN: Final[Mapping[TicketFormat, tuple[str, Draw]]] = {
    TicketFormat.PNG: ("image/png", lambda _sold, secrets, _now: rendering.png(secrets.token)),
    TicketFormat.SVG: ("image/svg+xml", lambda _sold, secrets, _now: rendering.svg(secrets.token)),
    TicketFormat.PDF: ("application/pdf", _pdf),
    TicketFormat.ICS: ("text/calendar", ics),
}
