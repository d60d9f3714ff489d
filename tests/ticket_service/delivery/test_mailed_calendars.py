"""Calendar entries in the mails of a running service: one for each holder and hours, kept up to date."""

from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import icalendar
import pytest

from tests.environment.messages import at
from tests.selling.shop import STANDARD, VIP, Shop, items, money, new_id
from ticketing.tickets.v1 import event_pb2, ticket_service_pb2
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow


@pytest.fixture
def service(drawing_threads: None, mailing_service: str) -> str:
    return mailing_service


def entries(mail: EmailMessage) -> list[tuple[str, Any]]:
    """Return the attached calendar entries, each with its method."""
    parts: list[Any] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendars = [icalendar.Calendar.from_ical(part.get_payload(decode=True)) for part in parts]
    methods = [
        (part["content-type"].params["method"], str(calendar["method"]))
        for part, calendar in zip(parts, calendars, strict=True)
    ]
    assert all(named == written for named, written in methods)
    return [(str(calendar["method"]), calendar.walk("VEVENT")[0]) for calendar in calendars]


async def next_entry(mailbox) -> tuple[str, Any]:
    [found] = entries(await mailbox.next())
    return found


async def buy(shop: Shop, event: event_pb2.Event, **changes: Any):
    return await shop.buy(event.event_id, **{"email": "alice@example.com", **changes})


def codes(entry: Any) -> list[str]:
    return [line.split(" ")[-1] for line in entry.get("description", "").splitlines()]


async def test_a_second_purchase_updates_the_entry(shop, mailbox, channel):
    event = await shop.on_sale()
    first = await buy(shop, event, quantity=2)
    _, before = await next_entry(mailbox)
    second = await buy(shop, event, quantity=2)
    method, after = await next_entry(mailbox)
    assert (method, after["uid"]) == ("PUBLISH", before["uid"])
    assert after["sequence"] > before["sequence"]
    assert codes(after) == [ticket.code for ticket in [*first.tickets, *second.tickets]]
    # A download shows the same entry.
    request = ticket_service_pb2.RenderTicketRequest(
        ticket_id=second.tickets[0].ticket_id, format=ticket_service_pb2.TICKET_FORMAT_ICS
    )
    drawn = await TicketServiceStub(channel).RenderTicket(request, metadata=shop.metadata())
    downloaded = icalendar.Calendar.from_ical(drawn.content).walk("VEVENT")[0]
    assert downloaded.to_ical() == after.to_ical()


async def test_the_entry_is_removed_with_the_last_ticket(shop, mailbox, channel):
    event = await shop.on_sale()
    tickets, seen = [], []
    for _ in range(2):
        tickets += (await buy(shop, event)).tickets
        seen.append(await next_entry(mailbox))
    for ticket in tickets:
        request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id)
        await TicketServiceStub(channel).CancelTicket(request, metadata=shop.metadata())
        seen.append(await next_entry(mailbox))
    assert [method for method, _ in seen] == ["PUBLISH", "PUBLISH", "PUBLISH", "CANCEL"]
    assert [entry["status"] for _, entry in seen] == ["CONFIRMED", "CONFIRMED", "CONFIRMED", "CANCELLED"]
    assert codes(seen[2][1]) == [tickets[1].code]
    sequences = [entry["sequence"] for _, entry in seen]
    assert sequences == sorted(set(sequences))
    assert len({entry["uid"] for _, entry in seen}) == len({entry["organizer"] for _, entry in seen}) == 1


async def test_a_transfer_gives_one_entry_and_takes_the_last(shop, mailbox, channel):
    event = await shop.on_sale()
    bought = await buy(shop, event, quantity=2)
    _, before = await next_entry(mailbox)
    of_alice, of_bob = [], []
    for ticket in bought.tickets:
        request = ticket_service_pb2.TransferTicketRequest(
            ticket_id=ticket.ticket_id, user_id="bob", email="bob@example.com", request_id=new_id()
        )
        await TicketServiceStub(channel).TransferTicket(request, metadata=shop.metadata())
        mails = {mail["to"]: mail for mail in (await mailbox.next(), await mailbox.next())}
        of_alice += entries(mails["alice@example.com"])
        of_bob += entries(mails["bob@example.com"])
    assert [method for method, _ in of_alice] == ["PUBLISH", "CANCEL"]
    assert [method for method, _ in of_bob] == ["PUBLISH", "PUBLISH"]
    assert codes(of_alice[0][1]) == [bought.tickets[1].code]
    assert [len(codes(entry)) for _, entry in of_bob] == [1, 2]
    assert {entry["uid"] for _, entry in of_alice} == {before["uid"]}
    assert len({entry["uid"] for _, entry in of_bob} | {before["uid"]}) == 2


async def test_a_reissue_shows_the_new_code_under_a_later_sequence(shop, mailbox, channel):
    event = await shop.on_sale()
    ticket = (await buy(shop, event)).tickets[0]
    _, before = await next_entry(mailbox)
    request = ticket_service_pb2.ReissueTicketRequest(ticket_id=ticket.ticket_id, request_id=new_id())
    new = (await TicketServiceStub(channel).ReissueTicket(request, metadata=shop.metadata())).ticket
    method, after = await next_entry(mailbox)
    assert (method, after["uid"], codes(after)) == ("PUBLISH", before["uid"], [new.code])
    assert after["sequence"] > before["sequence"]


async def test_a_new_location_updates_the_entry(shop, mailbox):
    event = await shop.on_sale()
    await buy(shop, event)
    _, before = await next_entry(mailbox)
    event.location = "Hall B"
    await shop.update(event, "location")
    _, after = await next_entry(mailbox)
    assert (after["uid"], after["location"]) == (before["uid"], "Hall B")
    assert after["sequence"] > before["sequence"]


async def test_day_tickets_have_entries_of_their_own(shop, mailbox, clock):
    start = clock() + timedelta(days=10)
    day = event_pb2.TicketOffer(
        ticket_type=VIP,
        price=money(0),
        valid_from_time=at(start + timedelta(days=1)),
        valid_until_time=at(start + timedelta(days=1, hours=9)),
    )
    offers = [event_pb2.TicketOffer(ticket_type=STANDARD, price=money(0)), day]
    event = await shop.on_sale(start_time=at(start), end_time=at(start + timedelta(days=3)), offers=offers)
    await shop.buy(event.event_id, items=items((STANDARD, 2), (VIP, 2)), email="alice@example.com")
    found = entries(await mailbox.next())
    assert sorted(entry["dtstart"].dt - start for _, entry in found) == [timedelta(0), timedelta(days=1)]


async def test_guests_of_one_seller_have_calendars_of_their_own(shop, mailbox, channel):
    event = await shop.on_sale()
    bought, found = {}, []
    for address in ("alice@example.com", "Alice@Example.com", "bob@example.com"):
        bought[address] = await shop.buy(event.event_id, Shop.BACKEND, email=address)
        found.append(await next_entry(mailbox))
    assert [len(codes(entry)) for _, entry in found] == [1, 2, 1]
    assert len({entry["uid"] for _, entry in found}) == 2
    ticket = bought["bob@example.com"].tickets[0]
    request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id)
    await TicketServiceStub(channel).CancelTicket(request, metadata=shop.metadata(Shop.BACKEND))
    method, removed = await next_entry(mailbox)
    assert (method, removed["uid"]) == ("CANCEL", found[2][1]["uid"])


async def test_a_mail_shows_no_code_of_another_address(shop, mailbox):
    event = await shop.on_sale()
    await buy(shop, event)
    await mailbox.next()
    for_a_friend = await buy(shop, event, email="friend@example.com")
    _, entry = await next_entry(mailbox)
    assert codes(entry) == [for_a_friend.tickets[0].code]
