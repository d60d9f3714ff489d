"""Mails of a running service, received by a real SMTP server."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import icalendar
import pypdfium2
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from tests.environment.messages import at
from tests.environment.qr_codes import read_qr_codes
from tests.environment.waiting import until
from tests.selling.shop import STANDARD, Shop, items, money, new_id
from ticket_service.commands.dead_letters import list_dead_letters
from ticket_service.commands.erase import erase_addresses
from ticket_service.store.tables import contacts, reissues
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_service_pb2, ticket_service_pb2
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow


@pytest.fixture
def service(drawing_threads: None, mailing_service: str) -> str:
    return mailing_service


def attachments(mail: EmailMessage, media_type: str) -> list[bytes]:
    parts: list[Any] = [part for part in mail.walk() if part.get_content_type() == media_type]
    return [part.get_payload(decode=True) for part in parts]


def entries(mail: EmailMessage) -> list[tuple[str, Any]]:
    """Return the attached calendar entries, each with its method."""
    found = []
    parts: list[Any] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    for part in parts:
        calendar = icalendar.Calendar.from_ical(part.get_payload(decode=True))
        assert part["content-type"].params["method"] == calendar["method"]
        found += [(str(calendar["method"]), entry) for entry in calendar.walk("VEVENT")]
    return found


def text(mail: EmailMessage, kind: str = "plain") -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return body.get_content()


def drawn_pages() -> float:
    """Return how many page files have been drawn."""
    return REGISTRY.get_sample_value("drawing_seconds_count", {"format": "PDF"}) or 0.0


async def buy(shop: Shop, event: event_pb2.Event, **changes: Any):
    return await shop.buy(event.event_id, **{"email": "alice@example.com", **changes})


async def test_purchase_is_one_mail_with_codes_pages_and_entries(shop, mailbox):
    event = await shop.on_sale(name="Gäste & <Freunde>", location="Hall", time_zone="Europe/Berlin")
    bought = await buy(shop, event, quantity=2)
    mail = await mailbox.next()
    assert (mail["to"], mail["from"]) == ("alice@example.com", "Concert Hall <tickets@example.com>")
    assert mail["subject"] == "Your tickets for Gäste & <Freunde>"
    pictures = attachments(mail, "image/png")
    assert [read_qr_codes(picture) for picture in pictures] == [[ticket.token] for ticket in bought.tickets]
    assert [page[:5] for page in attachments(mail, "application/pdf")] == [b"%PDF-"] * 2
    [(method, entry)] = entries(mail)
    assert method == "PUBLISH"
    assert entry["description"].split("\n") == [f"Standard {ticket.code}" for ticket in bought.tickets]
    assert entry["organizer"] == "mailto:tickets@example.com"
    html = text(mail, "html")
    assert "Gäste &amp; &lt;Freunde&gt;" in html
    for part in mail.walk():
        if part.get_content_type() == "image/png":
            assert f'src="cid:{part["content-id"].strip("<>")}"' in html
    assert all(ticket.code in text(mail) for ticket in bought.tickets)
    assert "(Central European" in text(mail)
    assert mailbox.mails == []


async def test_large_order_has_one_file_of_pages_that_a_retry_does_not_draw_again(shop, mailbox, clock):
    answers = iter(["451 later"])
    mailbox.refuses = lambda _: next(answers, None)
    event, before = await shop.on_sale(), drawn_pages()
    bought = await buy(shop, event, quantity=12)
    await until(lambda: mailbox.tried == 1)
    assert drawn_pages() == before + 1

    def mails_after_a_while() -> list[EmailMessage]:
        # The relay stores the failure at some time after the answer.
        clock.advance(timedelta(minutes=10))
        return mailbox.mails

    await until(mails_after_a_while)
    mail = await mailbox.next()
    [pages] = attachments(mail, "application/pdf")
    document = pypdfium2.PdfDocument(pages)
    codes = [read_qr_codes(page.render(scale=2).to_pil()) for page in document]
    document.close()
    assert codes == [[ticket.token] for ticket in bought.tickets]
    assert attachments(mail, "image/png") == []
    assert "cid:" not in text(mail, "html")
    assert all(ticket.code in text(mail) for ticket in bought.tickets)
    assert drawn_pages() == before + 1, "the second try draws nothing"


async def test_mail_goes_to_the_address_of_the_access_token(shop, mailbox):
    event = await shop.on_sale()
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=new_id(), event_id=event.event_id, items=items((STANDARD, 1))
    )
    await shop.purchases.PurchaseTickets(request, metadata=shop.metadata(email="claim@example.com"))
    assert (await mailbox.next())["to"] == "claim@example.com"


async def test_purchase_is_mailed_in_the_language_of_its_metadata(shop, mailbox):
    event = await shop.on_sale()
    await buy(shop, event, metadata={"language": "de"})
    mail = await mailbox.next()
    assert mail["subject"] == "Ihre Tickets für Concert"
    assert 'lang="de"' in text(mail, "html")
    await buy(shop, event, metadata={"language": "eo"})
    assert (await mailbox.next())["subject"] == "Your tickets for Concert"


async def test_event_moved_over_a_clock_change_moves_in_the_calendar(shop, mailbox):
    start = datetime(2027, 3, 27, 19, 0, tzinfo=UTC)
    event = await shop.on_sale(start_time=at(start), end_time=at(start + timedelta(hours=3)), time_zone="Europe/Berlin")
    await buy(shop, event, quantity=2)
    before = [entry for _, entry in entries(await mailbox.next())]
    # The clocks change within that day: the same local time is another time in UTC.
    event.start_time.FromDatetime(start + timedelta(hours=23))
    event.end_time.FromDatetime(start + timedelta(hours=26))
    await shop.update(event, "start_time", "end_time")
    mail = await mailbox.next()
    assert mail["subject"] == "Changed: Concert"
    assert "Sunday, 28 March 2027, 20:00" in text(mail)
    after = [entry for _, entry in entries(mail)]
    assert [entry["uid"] for entry in after] == [entry["uid"] for entry in before]
    assert all(new["sequence"] > old["sequence"] for new, old in zip(after, before, strict=True))
    assert after[0]["dtstart"].dt.isoformat() == "2027-03-28T20:00:00+02:00"
    assert before[0]["dtstart"].dt.isoformat() == "2027-03-27T20:00:00+01:00"
    # A change of the description is not mailed.
    event = await shop.get(event.event_id)
    event.description = "Louder"
    await shop.update(event, "description")
    await buy(shop, event)
    assert (await mailbox.next())["subject"] == "Your tickets for Concert"
    assert mailbox.mails == []


async def test_the_mail_about_a_move_offers_a_full_refund(shop, mailbox, clock):
    event = await shop.on_sale(ticket_price=money(2_000))
    await shop.buy(
        event.event_id, Shop.BACKEND, external_payment_id="pay-1", expected_total=money(2_000),
        user_id="alice", email="alice@example.com",
    )  # fmt: skip
    await mailbox.next()
    event.start_time.FromDatetime(clock() + timedelta(days=40))
    event.end_time.FromDatetime(clock() + timedelta(days=41))
    await shop.update(event, "start_time", "end_time")
    until = clock() + timedelta(days=14)
    assert f"{until:%H:%M} (UTC), and the full price is refunded." in " ".join(text(await mailbox.next()).split())


async def test_cancellation_and_its_refund_are_mailed(shop, mailbox, channel):
    event = await shop.on_sale(ticket_price=money(2_000))
    bought = await shop.buy(
        event.event_id, Shop.BACKEND, external_payment_id="pay-1", expected_total=money(4_000), quantity=2,
        user_id="alice", email="alice@example.com",
    )  # fmt: skip
    await mailbox.next()
    tickets = TicketServiceStub(channel)
    request = ticket_service_pb2.CancelTicketRequest(ticket_id=bought.tickets[0].ticket_id)
    cancellation = (await tickets.CancelTicket(request, metadata=shop.metadata())).cancellation
    mail = await mailbox.next()
    assert mail["subject"] == "Your ticket for Concert is cancelled"
    assert "€20.00" in text(mail)
    [(method, entry)] = entries(mail)
    assert (method, entry["description"]) == ("PUBLISH", f"Standard {bought.tickets[1].code}")
    assert bought.tickets[0].code not in mail.as_string()
    confirm = ticket_service_pb2.ConfirmRefundRequest(cancellation_id=cancellation.cancellation_id, refund_id="r-1")
    await tickets.ConfirmRefund(confirm, metadata=shop.metadata(Shop.BACKEND))
    assert (await mailbox.next())["subject"] == "Your refund for Concert"


async def test_transfer_is_mailed_to_the_new_and_the_previous_holder(shop, mailbox, channel):
    event = await shop.on_sale()
    ticket = (await buy(shop, event)).tickets[0]
    await mailbox.next()
    request = ticket_service_pb2.TransferTicketRequest(
        ticket_id=ticket.ticket_id, user_id="bob", email="bob@example.com", request_id=new_id()
    )
    await TicketServiceStub(channel).TransferTicket(request, metadata=shop.metadata())
    mails = {mail["to"]: mail for mail in (await mailbox.next(), await mailbox.next())}
    assert mails["bob@example.com"]["subject"] == "A ticket for Concert is yours now"
    assert mails["alice@example.com"]["subject"] == "Your ticket for Concert was passed on"
    assert [method for method, _ in entries(mails["alice@example.com"])] == ["CANCEL"]
    [new_code] = [
        name for part in mails["bob@example.com"].walk() if (name := part.get_filename() or "").endswith("pdf")
    ]
    assert new_code.removesuffix(".pdf") not in mails["alice@example.com"].as_string()
    assert mails["bob@example.com"]["message-id"] != mails["alice@example.com"]["message-id"]


async def test_cancelled_event_is_mailed_once_to_each_buyer(shop, mailbox):
    event = await shop.on_sale()
    await buy(shop, event, quantity=3)
    await mailbox.next()
    request = event_service_pb2.CancelEventRequest(event_id=event.event_id, reason="storm")
    await shop.events.CancelEvent(request, metadata=shop.metadata(Shop.OLGA))
    mail = await mailbox.next()
    assert mail["subject"] == "Called off: Concert"
    assert "(storm)" in text(mail)
    assert [method for method, _ in entries(mail)] == ["CANCEL"]


async def test_expired_hold_is_mailed(shop, mailbox, clock):
    event = await shop.on_sale(ticket_price=money(2_000))
    await buy(shop, event)
    clock.advance(timedelta(minutes=11))
    assert (await mailbox.next())["subject"] == "Your reservation for Concert has expired"


async def test_erased_address_is_not_stored_and_gets_no_mail(shop, mailbox, channel, database, tickets_url):
    event = await shop.on_sale()
    ticket = (await buy(shop, event)).tickets[0]
    await mailbox.next()
    lines: list[str] = []
    addresses = ["Alice@example.com\n", "\n"]
    assert await asyncio.to_thread(erase_addresses, tickets_url, addresses, lines.append) == 0
    assert [line.partition(": ")[2] for line in lines] == [
        "erased from 1 purchases, 0 tickets, 1 addresses and transfers, 0 notifications, 0 requests"
    ]
    request = ticket_service_pb2.ReissueTicketRequest(ticket_id=ticket.ticket_id, request_id=new_id())
    await TicketServiceStub(channel).ReissueTicket(request, metadata=shop.metadata())
    await buy(shop, event, email="bob@example.com")
    assert (await mailbox.next())["to"] == "bob@example.com"
    for table in (contacts, reissues):
        rows = await database.run(lambda c, t=table: c.execute(sa.select(t)).all())
        assert "alice@example.com" not in str(rows).lower()


async def test_dead_letter_of_a_refused_recipient_has_no_address(shop, mailbox, tickets_url):
    mailbox.refuses = lambda address: f"550 <{address}> unknown" if "alice" in address else None
    event = await shop.on_sale()
    await buy(shop, event)
    await until(lambda: mailbox.tried == 1)
    await buy(shop, event, email="bob@example.com")
    await mailbox.next()
    lines: list[str] = []
    list_dead_letters(tickets_url, lines.append)
    assert lines[0].endswith("after 1 tries: SMTP: the recipient was refused with 550")
    assert mailbox.tried == 2
