"""Draw tickets: one module for each format.

Modules are imported with the first drawing of their format, because their libraries take up to half a second to load and
only worker processes draw (`ticket_service.adapters.drawing_worker`).
"""

from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.tickets import TicketFormat
from ticket_service.domain.wallets import NO_WALLETS, Wallets


def draw(drawing: Drawing, wallets: Wallets = NO_WALLETS) -> bytes:
    """Draw one file.

    Raises:
        ValueError: the drawing has several tickets in a format that takes one, or there are no keys of its wallet.
    """
    match drawing.format:
        case TicketFormat.PNG:
            from ticket_service.adapters.rendering import png  # noqa: PLC0415 - see above

            return png(_one(drawing).secrets.token)
        case TicketFormat.SVG:
            from ticket_service.adapters.rendering import svg  # noqa: PLC0415 - see above

            return svg(_one(drawing).secrets.token)
        case TicketFormat.PDF:
            from ticket_service.adapters.page import pdf  # noqa: PLC0415 - see above

            return pdf(drawing)
        case TicketFormat.ICS:
            from ticket_service.adapters.calendar import ics  # noqa: PLC0415 - see above

            return ics(drawing)
        case TicketFormat.APPLE_WALLET if wallets.apple is not None:
            from ticket_service.adapters.apple_wallet import pkpass  # noqa: PLC0415 - see above

            return pkpass(drawing, wallets.apple)
        case TicketFormat.GOOGLE_WALLET if wallets.google is not None:
            from ticket_service.adapters.google_wallet import save_link  # noqa: PLC0415 - see above

            return save_link(drawing, wallets.google)
        case _:
            raise ValueError(f"there are no keys of {drawing.format}")


def _one(drawing: Drawing) -> PrintedTicket:
    [ticket] = drawing.tickets
    return ticket
