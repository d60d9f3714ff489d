"""Bounds of one customer on unpaid places and on tickets, and a customer's own hold."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc.aio
import pytest
import sqlalchemy as sa

from tests.environment.refusals import refusal, refusal_of
from tests.processes.ticket_service import TicketProcess
from tests.selling.rows import change, row
from tests.selling.shop import STANDARD, VIP, Shop, items, money, new_id
from ticket_service.store.tables import contacts, purchases, tickets
from ticketing.tickets.v1 import event_pb2, purchase_pb2

HELD, REFUNDING = purchase_pb2.PURCHASE_STATUS_HELD, purchase_pb2.PURCHASE_STATUS_REFUNDING
PRICE = 2_500
BOB = ("user", "bob")


async def on_sale(shop: Shop, **fields: Any) -> event_pb2.Event:
    return await shop.on_sale(**{"ticket_price": money(PRICE), "max_participants": 60, **fields})


async def test_one_user_does_not_empty_an_event_by_holds(shop):
    event = await on_sale(shop)
    await shop.buy(event.event_id, quantity=15)
    refused = await refusal(shop.buy(event.event_id, quantity=6))
    assert (refused.reason, refused.code) == ("CUSTOMER_HOLD_LIMIT", grpc.StatusCode.FAILED_PRECONDITION)
    assert refused.metadata == {
        "event_id": event.event_id,
        "max": "20",
        "have": "15",
        "requested": "6",
        "within_seconds": "0",
    }
    # The first hold ends after ten minutes.
    assert refused.retry_seconds == 600
    assert (await shop.buy(event.event_id, quantity=5)).status == HELD
    assert (await shop.buy(event.event_id, BOB, quantity=20)).status == HELD
    assert await shop.left(event) == 20


async def test_holds_that_end_unpaid_count_for_an_hour(shop, clock):
    event = await on_sale(shop)
    for _ in range(3):
        await shop.release(await shop.buy(event.event_id, quantity=20))
        clock.advance(timedelta(minutes=1))
    refused = await refusal(shop.buy(event.event_id, quantity=20))
    assert refused.reason == "CUSTOMER_HOLD_LIMIT"
    assert (refused.metadata["have"], refused.metadata["within_seconds"]) == ("60", "3600")
    assert refused.retry_seconds == 57 * 60
    clock.advance(timedelta(minutes=57))
    assert (await shop.buy(event.event_id, quantity=20)).status == HELD


async def test_an_order_above_the_bound_gets_no_retry_time(shop):
    event = await on_sale(shop, max_held_per_customer=4)
    refused = await refusal(shop.buy(event.event_id, quantity=5))
    assert (refused.reason, refused.metadata["max"]) == ("CUSTOMER_HOLD_LIMIT", "4")
    assert refused.retry_seconds is None


async def test_five_orders_are_not_ten_tickets(shop):
    offers = [event_pb2.TicketOffer(ticket_type=STANDARD, price=money(0), max_per_purchase=2)]
    event = await shop.on_sale(ticket_price=money(0), offers=offers, max_tickets_per_customer=2)
    await shop.buy(event.event_id, quantity=2)
    for _ in range(4):
        refused = await refusal(shop.buy(event.event_id))
        assert refused.reason == "CUSTOMER_TICKET_LIMIT"
        assert refused.metadata == {"event_id": event.event_id, "max": "2", "have": "2", "requested": "1"}
    assert (await shop.buy(event.event_id, BOB)).tickets


async def test_an_offer_bounds_its_own_type(shop):
    offers = [
        event_pb2.TicketOffer(ticket_type=STANDARD, price=money(PRICE), max_held_per_customer=3),
        event_pb2.TicketOffer(ticket_type=VIP, price=money(PRICE), max_tickets_per_customer=2),
    ]
    event = await on_sale(shop, offers=offers)
    await shop.buy(event.event_id, items=items((STANDARD, 2), (VIP, 2)))
    refused = await refusal(shop.buy(event.event_id, items=items((STANDARD, 2))))
    assert (refused.reason, refused.metadata["ticket_type"]) == ("CUSTOMER_HOLD_LIMIT", "STANDARD")
    # Held places count as tickets, so that paying for them exceeds no bound.
    refused = await refusal(shop.buy(event.event_id, items=items((VIP, 1))))
    assert (refused.reason, refused.metadata["have"]) == ("CUSTOMER_TICKET_LIMIT", "2")
    assert (await shop.buy(event.event_id, quantity=1)).status == HELD
    changed = await shop.get(event.event_id)
    assert [offer.max_held_per_customer for offer in changed.offers] == [3, 0]


async def test_an_organizer_lifts_the_bound_of_the_service(shop):
    event = await on_sale(shop, max_held_per_customer=0)
    assert event.HasField("max_held_per_customer")
    for quantity in (20, 19, 18):
        assert (await shop.buy(event.event_id, quantity=quantity)).status == HELD


async def test_a_returning_buyer_gets_their_own_hold_instead_of_sold_out(shop, database):
    event = await on_sale(shop, max_participants=2)
    held = await shop.buy(event.event_id, quantity=2, email="bob@exampel.com")
    request_id = new_id()
    again = await shop.buy(event.event_id, quantity=2, email="bob@example.com", request_id=request_id)
    assert again == held
    assert await shop.buy(event.event_id, quantity=2, request_id=request_id) == held
    assert (await refusal(shop.buy(event.event_id, BOB, quantity=2))).reason == "SOLD_OUT"
    assert (await row(database, contacts, purchase_id=held.purchase_id)).email == "bob@example.com"
    assert await shop.left(event) == 0


async def test_equal_orders_sent_at_once_hold_the_places_once(shop):
    event = await on_sale(shop)
    answers = await asyncio.gather(*(shop.buy(event.event_id, quantity=2) for _ in range(10)))
    assert len({answer.purchase_id for answer in answers}) == 1
    assert await shop.left(event) == 58


async def test_an_expired_hold_is_not_given_again(shop, clock):
    event = await on_sale(shop)
    held = await shop.buy(event.event_id)
    clock.advance(timedelta(minutes=10))
    assert (await shop.buy(event.event_id)).purchase_id != held.purchase_id


async def test_a_guest_is_counted_by_address(shop, database):
    event = await on_sale(shop, max_tickets_per_customer=3)
    guest = {"email": "Gina@example.com"}
    held = await shop.buy(event.event_id, Shop.BACKEND, quantity=2, **guest)
    assert (await row(database, purchases, purchase_id=held.purchase_id)).is_guest
    again = await shop.buy(event.event_id, Shop.BACKEND, quantity=2, email="gina@EXAMPLE.com")
    assert again.purchase_id == held.purchase_id
    await shop.report_payment(held, "pay-1")
    refused = await refusal(shop.buy(event.event_id, Shop.BACKEND, quantity=2, **guest))
    assert (refused.reason, refused.metadata["have"]) == ("CUSTOMER_TICKET_LIMIT", "2")
    assert (await shop.buy(event.event_id, Shop.BACKEND, quantity=2, email="hal@example.com")).status == HELD


async def test_the_cancelled_ticket_of_a_guest_does_not_count(shop, database):
    event = await shop.on_sale(max_tickets_per_customer=2)
    guest = {"email": "gina@example.com"}
    bought = await shop.buy(event.event_id, Shop.BACKEND, quantity=2, **guest)
    assert (await refusal(shop.buy(event.event_id, Shop.BACKEND, **guest))).metadata["have"] == "2"
    await change(database, UUID(bought.tickets[0].ticket_id), status="CANCELLED")
    assert (await shop.buy(event.event_id, Shop.BACKEND, **guest)).tickets


async def test_a_guest_of_a_seller_is_not_the_seller(shop):
    event = await on_sale(shop, max_held_per_customer=3)
    guest = await shop.buy(event.event_id, Shop.BACKEND, quantity=3, email="gina@example.com")
    own = await shop.buy(event.event_id, Shop.BACKEND, quantity=3, user_id=Shop.BACKEND[1])
    assert own.purchase_id != guest.purchase_id


@pytest.mark.parametrize(("minutes", "counts"), [(0, False), (1, True)])
async def test_only_a_card_that_is_declined_late_kept_places_from_others(shop, database, minutes, counts):
    event = await on_sale(shop)
    for _ in range(3):
        released = await shop.release(await shop.buy(event.event_id, quantity=20))
    declined = (
        purchases.update()
        .where(purchases.c.purchase_id == UUID(released.purchase_id))
        .values(status="DECLINED", complete_time=purchases.c.create_time + timedelta(minutes=minutes))
    )
    await database.run(lambda connection: connection.execute(declined))
    if counts:
        assert (await refusal(shop.buy(event.event_id, quantity=20))).reason == "CUSTOMER_HOLD_LIMIT"
    else:
        assert (await shop.buy(event.event_id, quantity=20)).status == HELD


async def test_a_sale_to_nobody_by_name_has_no_bound(shop):
    event = await on_sale(shop, max_tickets_per_customer=1)
    bought = [await shop.buy(event.event_id, Shop.BACKEND, user_id=name) for name in ("u1", "u2")]
    counter = [await shop.buy(event.event_id, Shop.BACKEND) for _ in range(2)]
    assert len({one.purchase_id for one in bought + counter}) == 4


async def test_the_count_of_tickets_follows_their_fate(shop, database):
    event = await shop.on_sale(max_tickets_per_customer=2)
    bought = await shop.buy(event.event_id, quantity=2)
    first, second = (UUID(ticket.ticket_id) for ticket in bought.tickets)
    assert (await refusal(shop.buy(event.event_id))).reason == "CUSTOMER_TICKET_LIMIT"
    await change(database, first, user_id="bob")
    assert (await shop.buy(event.event_id)).tickets
    await change(database, second, status="CANCELLED")
    assert (await shop.buy(event.event_id)).tickets
    assert (await refusal(shop.buy(event.event_id))).metadata["have"] == "2"
    # The transferred ticket counts for its new holder.
    assert (await refusal(shop.buy(event.event_id, BOB, quantity=2))).metadata["have"] == "1"


async def test_a_late_payment_beyond_the_bound_is_refunded(shop):
    event = await on_sale(shop, max_tickets_per_customer=2)
    released = await shop.release(await shop.buy(event.event_id, quantity=2))
    other = await shop.buy(event.event_id)
    await shop.report_payment(other, "pay-1")
    assert (await shop.report_payment(released, "pay-2")).status == REFUNDING


Open = Callable[[], Shop]


@pytest.fixture
async def open_shop(issuer, environment_of, tickets_url) -> AsyncIterator[Open]:
    """Start a service of its own for each shop, all on one database."""
    variables = environment_of(TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False))
    channels: list[grpc.aio.Channel] = []
    with ExitStack() as running:

        def open_() -> Shop:
            process = running.enter_context(TicketProcess(variables))
            channels.append(grpc.aio.insecure_channel(process.address))
            return Shop(channels[-1], issuer)

        yield open_
        for channel in channels:
            await channel.close()


@pytest.mark.slow
async def test_three_processes_keep_the_bounds_of_one_user(open_shop: Open, database):
    shops = [open_shop() for _ in range(3)]
    free = await shops[0].on_sale(max_tickets_per_customer=7)
    priced = await shops[0].on_sale(ticket_price=money(PRICE), max_held_per_customer=7)

    async def reason_of(shop: Shop, event: event_pb2.Event, user: str, kind: Any) -> str:
        try:
            await shop.buy(event.event_id, ("user", user), items=items((kind, 1)))
        except grpc.aio.AioRpcError as error:
            return refusal_of(error).reason
        return "bought"

    for user in ("alice", "bob"):
        answers = await asyncio.gather(*(reason_of(shop, free, user, STANDARD) for shop in shops for _ in range(10)))
        assert sorted(answers) == ["CUSTOMER_TICKET_LIMIT"] * 23 + ["bought"] * 7
    answers = await asyncio.gather(*(hold(shop, priced, number) for number, shop in enumerate(shops * 5, start=1)))
    assert "CUSTOMER_HOLD_LIMIT" in answers
    query = sa.select(purchases.c["items"]).where(purchases.c.event_id == UUID(priced.event_id))
    held = await database.run(lambda connection: connection.execute(query).scalars().all())
    assert 4 < sum(its[0][1] for its in held) <= 7
    valid = sa.select(sa.func.count()).select_from(tickets).where(tickets.c.user_id == "alice")
    assert await database.run(lambda connection: connection.execute(valid).scalar_one()) == 7


async def hold(shop: Shop, event: event_pb2.Event, number: int) -> str:
    """Hold 1 to 4 places for one user; equal orders get the same hold."""
    try:
        await shop.buy(event.event_id, quantity=number % 4 + 1)
    except grpc.aio.AioRpcError as error:
        return refusal_of(error).reason
    return "held"
