"""Draw tickets as a PDF, one page (A4) for each; the QR code consists of rectangles, so that it is sharp at any size.

Names may be in any script. Noto Sans has Latin, Greek and Cyrillic letters. The font with Chinese, Japanese and Korean
characters takes ten times as long to load (half a second), so only a text that needs the font loads it, if the extra
`cjk` is installed. A character in neither font becomes a box.
"""

import importlib.resources
import importlib.util
from typing import Final

from fpdf import FPDF

from ticket_service.adapters.rendering import dark_runs, qr_modules
from ticket_service.domain.drawings import Drawing, PrintedTicket, ticket_hours
from ticket_service.domain.tickets import SoldTicket
from ticket_service.domain.zones import zone_of

# These lengths are in millimetres.
MARGIN: Final = 20
QR_SIDE: Final = 90
QR_TOP: Final = 168
WIDTH: Final = 210

FONT: Final = ("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf")
FALLBACK_FONT: Final = ("paperang_p2_fonts_cjk", "fonts/wqy-microhei.ttc")
# Longer names get a smaller size: 200 characters still end above the code.
LONG_NAME: Final = 60


def pdf(drawing: Drawing) -> bytes:
    """Draw a page for each ticket."""
    page = FPDF(format="A4")
    page.set_title(drawing.tickets[0].sold.event.name)
    page.set_auto_page_break(auto=False)
    page.set_margin(MARGIN)
    _set_fonts(
        page,
        "".join(
            ticket.sold.event.name + "".join(text for _, text in _lines(ticket.sold)) for ticket in drawing.tickets
        ),
    )
    for ticket in drawing.tickets:
        page.add_page()
        _draw_ticket(page, ticket)
    return bytes(page.output())


def _lines(sold: SoldTicket) -> list[tuple[str, str]]:
    event = sold.event
    return [
        ("When", _when(sold)),
        ("Where", event.location or ("Online" if event.is_online else "")),
        ("Ticket", str(sold.ticket.ticket_type).replace("_", " ").title()),
        ("Holder", sold.ticket.user_id),
    ]


def _draw_ticket(page: FPDF, ticket: PrintedTicket) -> None:
    event, secrets = ticket.sold.event, ticket.secrets
    page.set_fill_color(24, 48, 80)
    page.rect(0, 0, WIDTH, 8, style="F")
    page.set_y(MARGIN)
    page.set_font("main", size=26 if len(event.name) <= LONG_NAME else 14)
    page.multi_cell(0, text=event.name, align="L", new_x="LMARGIN", new_y="NEXT")
    page.ln(4)
    for label, text in _lines(ticket.sold):
        if text:
            _draw_line(page, label, text)
    _draw_code(page, secrets.token)
    page.set_font("main", size=18)
    page.set_xy(0, QR_TOP + QR_SIDE + 4)
    page.cell(WIDTH, text=secrets.code, align="C")


def _when(sold: SoldTicket) -> str:
    starts, ends = ticket_hours(sold)
    zone = zone_of(sold.event.time_zone, starts, ends)
    starts, ends = starts.astimezone(zone), ends.astimezone(zone)
    until = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{ends:%A, %d %B %Y, %H:%M}"
    return f"{starts:%A, %d %B %Y, %H:%M} – {until} ({zone})"  # noqa: RUF001 - a dash between times


def _set_fonts(page: FPDF, text: str) -> None:
    page.add_font("main", fname=_path(*FONT))
    known = page.fonts["main"].cmap  # type: ignore[union-attr]  # a TrueType font, not one of the fourteen built in
    if any(ord(sign) not in known for sign in text) and importlib.util.find_spec(FALLBACK_FONT[0]) is not None:
        page.add_font("fallback", fname=_path(*FALLBACK_FONT))
        page.set_fallback_fonts(["fallback"])


def _path(package: str, name: str) -> str:
    return str(importlib.resources.files(package) / name)


def _draw_line(page: FPDF, label: str, text: str) -> None:
    page.set_font("main", size=9)
    page.set_text_color(110)
    page.cell(0, 5, label, new_x="LMARGIN", new_y="NEXT")
    page.set_font("main", size=12)
    page.set_text_color(0)
    page.multi_cell(0, text=text, align="L", new_x="LMARGIN", new_y="NEXT")
    page.ln(2)


def _draw_code(page: FPDF, token: str) -> None:
    modules = qr_modules(token)
    side = QR_SIDE / len(modules)
    left = (WIDTH - QR_SIDE) / 2
    page.set_fill_color(0)
    for row, line in enumerate(modules):
        for start, length in dark_runs(line):
            page.rect(left + start * side, QR_TOP + row * side, length * side, side, style="F")
