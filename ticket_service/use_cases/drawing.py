"""Draw tickets. Each drawing takes milliseconds: callers run it in a thread, or the event loop delays sales."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ticket_service.adapters import rendering
from ticket_service.adapters.calendar import ics
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.ticket_formats import TicketFormat
from ticket_service.domain.tickets import SoldTicket

Draw = Callable[[SoldTicket, Secrets, datetime], bytes]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn ticket as a file."""

    media_type: str
    file_name: str
    content: bytes


def draw_ticket(ticket_format: TicketFormat, sold: SoldTicket, secrets: Secrets, now: datetime) -> Drawing:
    """Draw a ticket as it is at `now`."""
    media_type, suffix, draw = _DRAWERS[ticket_format]
    return Drawing(media_type, f"{secrets.code}.{suffix}", draw(sold, secrets, now))


def qr_code_url(token: str) -> str:
    """Return the QR code of a token as a PNG data URL."""
    return rendering.png_data_url(token)


def _pdf(sold: SoldTicket, secrets: Secrets, now: datetime) -> bytes:
    # Imported with the first page: the font library takes half a second, which every start would wait for.
    from ticket_service.adapters.page import pdf  # noqa: PLC0415

    return pdf(sold, secrets, now)


_DRAWERS: Final[Mapping[TicketFormat, tuple[str, str, Draw]]] = {
    TicketFormat.PNG: ("image/png", "png", lambda _sold, secrets, _now: rendering.png(secrets.token)),
    TicketFormat.SVG: ("image/svg+xml", "svg", lambda _sold, secrets, _now: rendering.svg(secrets.token)),
    TicketFormat.PDF: ("application/pdf", "pdf", _pdf),
    TicketFormat.ICS: ("text/calendar", "ics", ics),
}
