"""Look-ups of purchases by payment, address and status, and of tickets by the address of their holder."""

from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests.environment.serving import running
from tests.selling.shop import Shop, money, new_id
from ticket_service.app import App
from ticketing.tickets.v1 import purchase_pb2, purchase_service_pb2, ticket_service_pb2
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

PRICE = 2_500
OTTO = ("organizer", "otto")


@pytest.fixture
async def service(make_settings, tickets_url: URL, clock, scans):
    """Run a ticket service with a scan service."""
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}")
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


async def purchases_of(shop: Shop, by: tuple[str, str] = Shop.BACKEND, **query: Any) -> list[str]:
    request = purchase_service_pb2.ListPurchasesRequest(**query)
    answer = await shop.purchases.ListPurchases(request, metadata=shop.metadata(by))
    return [purchase.purchase_id for purchase in answer.purchases]


async def test_a_purchase_is_found_by_its_payment(shop):
    event = await shop.on_sale(ticket_price=money(PRICE))
    paid, other = await shop.buy(event.event_id), await shop.buy(event.event_id, ("user", "bob"))
    await shop.report_payment(paid, "pay-1")
    await shop.report_payment(other, "pay-2")
    # The second payment of a purchase is to be refunded, and is found too.
    await shop.report_payment(paid, "pay-3")
    assert await purchases_of(shop, payment_id="pay-1") == [paid.purchase_id]
    assert await purchases_of(shop, payment_id="pay-3") == [paid.purchase_id]
    assert await purchases_of(shop, payment_id="pay-4") == []
    assert await purchases_of(shop, OTTO, payment_id="pay-1") == []


async def test_purchases_are_found_by_the_address_of_their_buyer(shop):
    event = await shop.on_sale()
    bought = [await shop.buy(event.event_id, email=email) for email in ("Bob@example.com", "bob@EXAMPLE.com")]
    await shop.buy(event.event_id, email="bobby@example.com")
    expected = [purchase.purchase_id for purchase in reversed(bought)]
    assert await purchases_of(shop, email="bob@example.com") == expected
    assert await purchases_of(shop, Shop.OLGA, email="BOB@example.com") == expected
    assert await purchases_of(shop, OTTO, email="bob@example.com") == []
    assert await purchases_of(shop, ("user", "bob"), email="bob@example.com") == []
    assert await purchases_of(shop, email="") != []
    # The domain may be written in either of its two forms.
    international = await shop.buy(event.event_id, email="bob@xn--mnchen-3ya.de")
    for email in ("bob@münchen.de", "Bob@xn--mnchen-3ya.de"):
        assert await purchases_of(shop, email=email) == [international.purchase_id]


async def test_purchases_are_found_by_their_status(shop):
    event = await shop.on_sale(ticket_price=money(PRICE))
    released = await shop.release(await shop.buy(event.event_id))
    held = await shop.buy(event.event_id, quantity=2)
    assert await purchases_of(shop, status=purchase_pb2.PURCHASE_STATUS_RELEASED) == [released.purchase_id]
    assert await purchases_of(shop, status=purchase_pb2.PURCHASE_STATUS_HELD) == [held.purchase_id]
    assert await purchases_of(shop, status=purchase_pb2.PURCHASE_STATUS_COMPLETED) == []


async def test_tickets_are_found_by_the_address_of_their_present_holder(shop, channel):
    tickets = TicketServiceStub(channel)
    event = await shop.on_sale()
    first, second = (await shop.buy(event.event_id, quantity=2, email="alice@example.com")).tickets

    async def found(email: str) -> set[str]:
        request = ticket_service_pb2.ListTicketsRequest(email=email)
        answer = await tickets.ListTickets(request, metadata=shop.metadata(Shop.BACKEND))
        return {ticket.ticket_id for ticket in answer.tickets}

    assert await found("ALICE@example.com") == {first.ticket_id, second.ticket_id}
    for by, user, email in (("alice", "bob", "bob@example.com"), ("bob", "carol", "carol@example.com")):
        request = ticket_service_pb2.TransferTicketRequest(
            ticket_id=first.ticket_id, request_id=new_id(), user_id=user, email=email
        )
        await tickets.TransferTicket(request, metadata=shop.metadata(("user", by)))
    assert await found("alice@example.com") == {second.ticket_id}
    assert await found("bob@example.com") == set()
    assert await found("Carol@example.com") == {first.ticket_id}
