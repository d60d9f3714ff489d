"""Draw tickets: one module for each format.

Modules are imported with the first drawing of their format, because their libraries take up to half a second to load and
only worker processes draw (`ticket_service.adapters.drawing_worker`).
"""

from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.tickets import TicketFormat


def draw(drawing: Drawing) -> bytes:
    """Draw one file; raise ValueError for several tickets in a format that takes one."""
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


def _one(drawing: Drawing) -> PrintedTicket:
    [ticket] = drawing.tickets
    return ticket
