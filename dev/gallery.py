"""Draw the gallery of docs/pictures: tickets, mails and wallet passes of ten events: `make gallery`.

Both services run as in the demo, and a local SMTP server stores the mails that they send. Without Chromium, mails and passes
are left out. The pictures are contact sheets with few colours, so that all of them take some hundred kilobytes.
"""

import base64
import html
import importlib.resources
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pypdfium2
from google.protobuf.struct_pb2 import Struct
from PIL import Image, ImageDraw

from dev.clients import ApiClient, Services, running_services
from dev.gallery_passes import STYLE, pass_as_html, write_keys
from dev.gallery_shows import SHOWS, Show
from dev.mail_pictures import BROWSERS, MAIL_SECONDS, PICTURES, Mailbox, mail_server
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import (
    event_pb2,
    money_pb2,
    purchase_pb2,
    purchase_service_pb2,
    ticket_service_pb2,
)

START: Final = datetime(2030, 5, 18, 17, 0, tzinfo=UTC)
COLUMNS: Final = 5
GAP: Final = 10
BACKGROUND: Final = "#8a8f98"
# The width of a phone's screen, in CSS pixels.
PHONE: Final = (390, 844)
SCALE: Final = 0.62
COLORS: Final = 48


@dataclass(frozen=True)
class DrawnShow:
    """The files of a ticket for a show."""

    pages: bytes
    wallet_pass: bytes
    code: bytes


def sell(services: Services, show: Show) -> DrawnShow:
    """Sell two tickets for a show, and draw them."""
    organizer, shop = services.client("organizer", "alice"), services.client("service", "shop")
    currency, price = show.price
    metadata = Struct()
    metadata.update({"ticket_page": show.design})
    event = event_pb2.Event(
        name=show.name,
        event_type=event_pb2.EVENT_TYPE_OTHER,
        location=show.place,
        time_zone=show.zone,
        start_time=timestamp(START),
        end_time=timestamp(START + timedelta(hours=3)),
        doors_open_time=timestamp(START - timedelta(hours=1)),
        ticket_price=money_pb2.Money(currency_code=currency, minor_units=price),
        metadata=metadata,
    )
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=organizer.publish(event).event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=2)],
        user_id=show.holder,
        email=_address(show),
        language=show.language,
        external_payment_id=f"payment-{uuid.uuid4()}",
        expected_total=money_pb2.Money(currency_code=currency, minor_units=2 * price),
    )
    bought = shop.ask(shop.purchases.PurchaseTickets, request).purchase
    pages, wallet_pass, code = (
        _drawn(shop, bought.tickets[0].ticket_id, form)
        for form in (
            ticket_service_pb2.TICKET_FORMAT_PDF,
            ticket_service_pb2.TICKET_FORMAT_APPLE_WALLET,
            ticket_service_pb2.TICKET_FORMAT_PNG,
        )
    )
    return DrawnShow(pages, wallet_pass, code)


def _drawn(shop: ApiClient, ticket_id: str, form: ticket_service_pb2.TicketFormat.ValueType) -> bytes:
    request = ticket_service_pb2.RenderTicketRequest(
        ticket_id=ticket_id, format=form, whole_purchase=form == ticket_service_pb2.TICKET_FORMAT_PDF
    )
    return shop.ask(shop.tickets.RenderTicket, request).content


def _address(show: Show) -> str:
    return f"buyer-{SHOWS.index(show)}@example.com"


def first_page(content: bytes) -> Image.Image:
    """Draw the first page of a PDF."""
    document = pypdfium2.PdfDocument(content)
    picture: Image.Image = document[0].render(scale=0.75).to_pil().convert("RGB")
    document.close()
    return picture


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Arrange pictures in rows; each row is as high as its highest picture."""
    rows = [pictures[at : at + COLUMNS] for at in range(0, len(pictures), COLUMNS)]
    width = max(sum(picture.width + GAP for picture in row) for row in rows) + GAP
    sheet = Image.new("RGB", (width, sum(max(p.height for p in row) + GAP for row in rows) + GAP), BACKGROUND)
    top = GAP
    for row in rows:
        left = GAP
        for picture in row:
            sheet.paste(picture, (left, top))
            left += picture.width + GAP
        top += max(picture.height for picture in row) + GAP
    return sheet


def save(picture: Image.Image, name: str) -> None:
    """Save a picture with few colours."""
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
    print(f"{name}: {(PICTURES / name).stat().st_size // 1024} KB")


def shown_mail(mail: EmailMessage) -> str:
    """Return the HTML part of a mail with its inline pictures."""
    body = mail.get_body(("html",))
    content: str = body.get_content() if body is not None else ""
    for part in mail.walk():
        if part.get_content_type() == "image/png" and part["content-id"]:
            payload: Any = part.get_payload(decode=True)
            url = f"data:image/png;base64,{base64.b64encode(payload).decode()}"
            content = content.replace(f"cid:{part['content-id'].strip('<>')}", url)
    return content


def _font_settings(folder: Path) -> Path:
    """Write the settings of fontconfig: the fonts of the installed packages, because a machine may have none."""
    folders = [importlib.resources.files("manimgx_fonts"), importlib.resources.files("paperang_p2_fonts_cjk") / "fonts"]
    places = "".join(f"<dir>{place}</dir>" for place in folders)
    aliases = "".join(
        f"<alias binding='same'><family>{name}</family><prefer><family>Noto Sans</family></prefer></alias>"
        for name in ("Helvetica", "Arial", "Menlo", "Consolas", "sans-serif", "monospace")
    )
    settings = folder / "fonts.conf"
    settings.write_text(f"<fontconfig>{places}<cachedir>{folder}/fonts</cachedir>{aliases}</fontconfig>")
    return settings


def draw_mails(browser: str, mails: Sequence[EmailMessage], *, is_dark: bool) -> Image.Image:
    """Draw the mails side by side, each as wide as a phone."""
    width, height = PHONE
    frames = "".join(
        f'<iframe width="{width}" height="{height}" srcdoc="{html.escape(shown_mail(mail))}"></iframe>'
        for mail in mails
    )
    size = (COLUMNS * (width + GAP), -(-len(mails) // COLUMNS) * (height + 2 * GAP))
    return screenshot(browser, f"<style>iframe{{border:0;margin:{GAP // 2}px}}</style>{frames}", size, is_dark=is_dark)


def draw_passes(browser: str, shows: Sequence[DrawnShow]) -> Image.Image:
    """Draw the passes side by side."""
    cells = "".join(pass_as_html(show.wallet_pass, show.code) for show in shows)
    style = f"<style>{STYLE} main{{display:flex;flex-wrap:wrap;gap:{GAP}px;padding:{GAP}px}}</style>"
    return screenshot(browser, f"{style}<main>{cells}</main>", (COLUMNS * (330 + GAP) + GAP, 1010), is_dark=False)


def screenshot(browser: str, content: str, size: tuple[int, int], *, is_dark: bool) -> Image.Image:
    """Draw HTML with the fonts of the installed packages."""
    width, height = size
    with tempfile.TemporaryDirectory() as directory:
        page, picture = Path(directory) / "page.html", Path(directory) / "page.png"
        body = f"body{{margin:0;background:{BACKGROUND};width:{width}px}}"
        page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><style>{body}</style>{content}')
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--window-size={width},{height}", f"--force-device-scale-factor={SCALE}"),
            *("--virtual-time-budget=5000", f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"),
            *(f"--user-data-dir={directory}/own", f"--screenshot={picture}"),
        ]
        environment = {**os.environ, "FONTCONFIG_FILE": str(_font_settings(Path(directory)))}
        command = [browser, *options, page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=180, env=environment)
        with Image.open(picture) as drawn:
            return drawn.convert("RGB")


def _logo(folder: Path) -> None:
    """Draw a logo of a theatre."""
    logo = Image.new("RGB", (500, 130), "white")
    pen = ImageDraw.Draw(logo)
    for number in range(6):
        pen.rectangle((number * 30 + 10, 36, number * 30 + 24, 116), fill="#183050")
    pen.polygon([(6, 30), (92, 6), (178, 30)], fill="#183050")
    pen.rectangle((200, 46, 480, 62), fill="#183050")
    pen.rectangle((200, 76, 410, 92), fill="#7a8aa0")
    logo.save(folder / "logo.png")


def main() -> int:
    """Draw all pictures."""
    Parser(
        prog="python -m dev.gallery", description="Draw docs/pictures: tickets, mails and wallet passes."
    ).parse_args()
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    mailbox = Mailbox()
    with mail_server(mailbox) as port, tempfile.TemporaryDirectory() as logos:
        _logo(Path(logos))
        os.environ |= {
            "TICKETS_SMTP_URL": f"smtp://127.0.0.1:{port}",
            "TICKETS_MAIL_FROM": "Tickets <tickets@example.com>",
            "TICKETS_LOGOS": logos,
            **write_keys(Path(logos)),
        }
        with running_services() as services:
            shows = [sell(services, show) for show in SHOWS]
            received = [mailbox.mails.get(timeout=MAIL_SECONDS) for _ in SHOWS]
    # Mails of different purchases are sent side by side.
    order = [_address(show) for show in SHOWS]
    mails = sorted(received, key=lambda mail: order.index(mail["to"]))
    PICTURES.mkdir(exist_ok=True)
    save(contact_sheet([first_page(show.pages) for show in shows]), "tickets.png")
    if browser is None:
        print(f"no mails and passes: they need one of {', '.join(BROWSERS)}", file=sys.stderr)
        return 0
    save(draw_mails(browser, mails, is_dark=False), "mails-light.png")
    save(draw_mails(browser, mails, is_dark=True), "mails-dark.png")
    save(draw_passes(browser, shows), "passes.png")
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
