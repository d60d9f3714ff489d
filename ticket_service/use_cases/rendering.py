"""Render tickets as pictures, pages and calendar entries."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client import Gauge

from ticket_service.adapters.drawers import Drawers, Turn
from ticket_service.adapters.words import known_language
from ticket_service.domain.calendar_entries import TicketEntry
from ticket_service.domain.drawings import Drawing, PrintedTicket, RenderOptions, print_ticket
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.refusals import format_not_configured, ticket_not_active
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket, TicketFormat
from ticket_service.domain.wallets import NO_WALLETS, WALLET_FORMATS, Wallets
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failures import FieldViolation, invalid_fields

SecretsOf = Callable[[SoldTicket], Secrets]

MEDIA_TYPES: Final = {
    TicketFormat.PNG: "image/png",
    TicketFormat.SVG: "image/svg+xml",
    TicketFormat.PDF: "application/pdf",
    TicketFormat.ICS: "text/calendar",
    TicketFormat.APPLE_WALLET: "application/vnd.apple.pkpass",
    # A link.
    TicketFormat.GOOGLE_WALLET: "text/plain",
}
# The endings of file names that differ from the name of the format.
SUFFIXES: Final = {TicketFormat.APPLE_WALLET: "pkpass", TicketFormat.GOOGLE_WALLET: "txt"}
EXPIRY: Final = Gauge("apple_wallet_expiry_timestamp_seconds", "Time when a certificate of the passes expires.")
# The calls of one caller that may wait for a drawing. A backend calls for many users.
MAX_WAITING: Final = 8
MAX_WAITING_OF_A_SERVICE: Final = 32


# The pages of one file: some 800 KB, and a second of a worker.
MAX_PAGES: Final = 100


@dataclass(frozen=True, slots=True)
class RenderedTicket:
    """A ticket as a file."""

    media_type: str
    file_name: str
    content: bytes


class Rendering:
    """The use cases of drawing tickets for callers.

    Args:
        drawers: the workers, which have the keys of `wallets`.
        language: the language of purchases that name none with texts.
        design: the design of pages and passes.
        wallets: the wallets for which tickets are issued.
    """

    def __init__(self, drawers: Drawers, language: str, design: PageDesign, wallets: Wallets = NO_WALLETS) -> None:
        self._drawers = drawers
        self._language = language
        self._design = design
        self._wallets = wallets
        if wallets.apple is not None:
            EXPIRY.set(wallets.apple.expire_time.timestamp())

    async def render(
        self, caller: Caller, tickets: Sequence[PrintedTicket], options: RenderOptions, now: datetime
    ) -> RenderedTicket:
        """Draw a picture or page of a ticket, or those of one purchase that are not cancelled as the pages of one file.

        A wallet pass of a cancelled ticket is void.

        Raises:
            Failure: TICKET_NOT_ACTIVE: no ticket is left; FORMAT_NOT_CONFIGURED; OVERLOADED; INVALID_ARGUMENT for more
                than MAX_PAGES tickets.
        """
        if not self._wallets.draws(options.format, now):
            raise format_not_configured(options.format)
        is_pass = options.format in WALLET_FORMATS
        drawn = [one for one in tickets if is_pass or one.sold.ticket.status not in CANCELLED_STATUSES]
        if not drawn:
            last = tickets[-1].sold.ticket
            raise ticket_not_active(last.ticket_id, last.status)
        if len(drawn) > MAX_PAGES:
            fault = f"would draw {len(drawn)} pages; the bound is {MAX_PAGES}"
            raise invalid_fields([FieldViolation("whole_purchase", fault)])
        language = known_language(drawn[0].sold.language, self._language)
        printed = tuple([print_ticket(one.sold, one.secrets) for one in drawn])
        drawing = Drawing(options.format, printed, language, now, design=self._design, paper=options.paper)
        content = await self._drawers.draw(drawing, _turn(caller))
        name = f"tickets-{drawn[0].sold.ticket.purchase_id}" if options.whole_purchase else drawn[0].secrets.code
        return RenderedTicket(
            MEDIA_TYPES[options.format], f"{name}.{SUFFIXES.get(options.format, options.format.lower())}", content
        )

    async def render_entry(
        self, caller: Caller, ticket: PrintedTicket, found: TicketEntry, secrets: SecretsOf, now: datetime
    ) -> RenderedTicket:
        """Draw the calendar entry of a ticket, or its removal if the holder has no valid ticket; raise OVERLOADED."""
        printed = tuple([print_ticket(sold, secrets(sold)) for sold in found.tickets])
        language = known_language(ticket.sold.language, self._language)
        drawing = Drawing(TicketFormat.ICS, printed, language, now, found.entry)
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
