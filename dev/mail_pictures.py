"""Draw the pictures of docs/notifications.md: `python -m dev.mail_pictures`; the program needs Chromium.

Both services run as in the demo, and a local SMTP server stores the mails that they send.
"""

import asyncio
import base64
import email
import email.policy
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import icalendar
import pypdfium2
from aiosmtpd.smtp import SMTP, Envelope

from dev.clients import Services, running_services
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, event_service_pb2, money_pb2, purchase_pb2, purchase_service_pb2

PICTURES: Final = Path("docs/pictures")
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
MAIL_SECONDS: Final = 30.0
# Daylight saving time begins in Berlin between the old and the new start of the event.
START: Final = datetime(2027, 3, 27, 19, 0, tzinfo=UTC)
HOURS: Final = timedelta(hours=3)


class Mailbox:
    """The mails that the SMTP server received."""

    def __init__(self) -> None:
        self.mails: SimpleQueue[EmailMessage] = SimpleQueue()

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802 - the library's name
        """Store one mail."""
        content: Any = envelope.content
        message: Any = email.message_from_bytes(content, policy=email.policy.default)
        self.mails.put(message)
        return "250 OK"


@contextmanager
def mail_server(mailbox: Mailbox) -> Iterator[int]:
    """Run an SMTP server and yield its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(mailbox), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()


def sell(services: Services) -> event_pb2.Event:
    """Sell two tickets for an event on the evening before daylight saving time begins."""
    organizer, shop = services.client("organizer", "alice"), services.client("service", "shop")
    event = event_pb2.Event(
        name="Spring Concert",
        event_type=event_pb2.EVENT_TYPE_OTHER,
        location="Town Hall, 1 Market Square",
        time_zone="Europe/Berlin",
        start_time=timestamp(START),
        end_time=timestamp(START + HOURS),
        ticket_price=money_pb2.Money(currency_code="EUR", minor_units=2500),
    )
    published = organizer.publish(event)
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=published.event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=2)],
        user_id="bob",
        email="bob@example.com",
        external_payment_id="payment-1",
        expected_total=money_pb2.Money(currency_code="EUR", minor_units=5000),
    )
    shop.ask(shop.purchases.PurchaseTickets, request)
    return published


def move(services: Services, event: event_pb2.Event) -> None:
    """Move the event to the next evening, at the same local time."""
    organizer = services.client("organizer", "alice")
    event.start_time.FromDatetime(START + timedelta(hours=23))
    event.end_time.FromDatetime(START + timedelta(hours=23) + HOURS)
    request = event_service_pb2.UpdateEventRequest(event=event)
    request.update_mask.paths.extend(["start_time", "end_time"])
    organizer.ask(organizer.events.UpdateEvent, request)


def attached(mail: EmailMessage, media_type: str) -> bytes:
    """Return the first part of a media type."""
    part: Any = next(part for part in mail.walk() if part.get_content_type() == media_type)
    content: bytes = part.get_payload(decode=True)
    return content


def draw_mail(browser: str, mail: EmailMessage, picture: Path) -> None:
    """Draw the HTML part of a mail with its inline pictures."""
    body = mail.get_body(("html",))
    html = body.get_content() if body is not None else ""
    for part in mail.walk():
        if part.get_content_type() == "image/png":
            payload: Any = part.get_payload(decode=True)
            url = f"data:image/png;base64,{base64.b64encode(payload).decode()}"
            html = html.replace(f"cid:{part['content-id'].strip('<>')}", url)
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "mail.html"
        page.write_text(html)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=640,850"]
        paths = [f"--user-data-dir={directory}/own", f"--screenshot={picture.resolve()}"]
        subprocess.run([browser, *options, *paths, page.as_uri()], check=True, capture_output=True, timeout=120)


def draw_page(content: bytes, picture: Path) -> None:
    """Draw the first page of a PDF."""
    document = pypdfium2.PdfDocument(content)
    document[0].render(scale=1.2).to_pil().save(picture)
    document.close()


def calendar_lines(title: str, mail: EmailMessage) -> list[str]:
    """Describe the calendar entry of a mail."""
    calendar = icalendar.Calendar.from_ical(attached(mail, "text/calendar"))
    # The types of the properties depend on their names.
    entry: Any = calendar.walk("VEVENT")[0]
    starts, ends = entry["dtstart"].dt, entry["dtend"].dt
    return [
        f"{title}: METHOD {calendar['method']}, SEQUENCE {entry['sequence']}, one entry for two tickets",
        f"  {entry['summary']}, {entry['location']}",
        f"  {starts:%A %d %B %Y %H:%M} to {ends:%H:%M} {starts.tzinfo} (UTC{starts:%z}), {starts.astimezone(UTC):%H:%M} UTC",
    ]


def main() -> int:
    """Draw all pictures; return 1 without a browser."""
    Parser(prog="python -m dev.mail_pictures", description="Draw the mails of docs/notifications.md.").parse_args()
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        print(f"this program needs one of {', '.join(BROWSERS)}", file=sys.stderr)
        return 1
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        os.environ |= {
            "TICKETS_SMTP_URL": f"smtp://127.0.0.1:{port}",
            "TICKETS_MAIL_FROM": "Town Hall <tickets@example.com>",
        }
        with running_services() as services:
            event = sell(services)
            bought = mailbox.mails.get(timeout=MAIL_SECONDS)
            move(services, event)
            moved = mailbox.mails.get(timeout=MAIL_SECONDS)
    PICTURES.mkdir(exist_ok=True)
    draw_mail(browser, bought, PICTURES / "mail.png")
    draw_page(attached(bought, "application/pdf"), PICTURES / "page.png")
    lines = [*calendar_lines("bought", bought), *calendar_lines("moved", moved)]
    (PICTURES / "calendar.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
