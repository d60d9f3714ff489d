"""Wallet passes of a running service: attached and linked in its mails, and drawn for callers."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.environment.serving import running
from tests.selling.shop import Shop
from tests.selling.wallets import make_wallet_files
from ticket_service.app import App
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow


@pytest.fixture
def make_wallet_settings(make_settings, tmp_path):
    link = "https://shop.example.com/{ticket_id}.pkpass"
    return partial(make_settings, **make_wallet_files(tmp_path).environment, TICKETS_APPLE_WALLET_LINK=link)


@pytest.fixture
async def service(make_wallet_settings, tickets_url, clock, mailbox, scans) -> AsyncIterator[str]:
    settings = make_wallet_settings(
        TICKETS_RELAY="built-in",
        TICKETS_SMTP_URL=mailbox.url,
        TICKETS_MAIL_FROM="Concert Hall <tickets@example.com>",
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_DELIVERY_SECONDS="60",
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
    )
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


def pass_in(content: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(zipfile.ZipFile(io.BytesIO(content)).read("pass.json"))
    return read


async def test_tickets_are_mailed_and_drawn_for_wallets(shop: Shop, mailbox, channel):
    event = await shop.on_sale()
    [ticket] = (await shop.buy(event.event_id, email="alice@example.com", language="de")).tickets
    mail = await mailbox.next()
    [part] = [part for part in mail.walk() if part.get_content_type() == "application/vnd.apple.pkpass"]
    assert part.get_filename() == f"{ticket.code}.pkpass"
    assert pass_in(part.get_payload(decode=True))["barcodes"][0]["message"] == ticket.token
    plain, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    apple = f"https://shop.example.com/{ticket.ticket_id}.pkpass"
    assert "Zu Apple Wallet hinzufügen:" in plain
    assert apple in plain
    assert f'href="{apple}"' in html

    async def render(ticket_format: pb.TicketFormat.ValueType) -> pb.RenderTicketResponse:
        request = pb.RenderTicketRequest(ticket_id=ticket.ticket_id, format=ticket_format)
        drawn: pb.RenderTicketResponse = await TicketServiceStub(channel).RenderTicket(
            request, metadata=shop.metadata()
        )
        return drawn

    link = await render(pb.TICKET_FORMAT_GOOGLE_WALLET)
    assert (link.media_type, link.file_name) == ("text/plain", f"{ticket.code}.txt")
    # Its length would make the plain part hard to read.
    assert link.content.decode() not in plain
    assert f'href="{link.content.decode()}"' in html
    assert "Zu Google Wallet hinzufügen</a>" in html
    cancel = pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
    await TicketServiceStub(channel).CancelTicket(cancel, metadata=shop.metadata())
    void = await render(pb.TICKET_FORMAT_APPLE_WALLET)
    assert (void.media_type, void.file_name) == ("application/vnd.apple.pkpass", f"{ticket.code}.pkpass")
    assert pass_in(void.content)["voided"]
    mail = await mailbox.next()
    assert not any("pkpass" in part.get_content_type() for part in mail.walk())
