import asyncio
from datetime import UTC, timedelta

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment.databases import connected, read_value
from tests.environment.refusals import refusal
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import STANDARD, VIP, Shop, items, money, new_id
from ticket_service.app import App
from ticket_service.store.tables import payments, purchases
from ticketing.chassis.database import Database
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, ticket_service_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

HELD, COMPLETED = purchase_pb2.PURCHASE_STATUS_HELD, purchase_pb2.PURCHASE_STATUS_COMPLETED
EXPIRED, RELEASED = purchase_pb2.PURCHASE_STATUS_EXPIRED, purchase_pb2.PURCHASE_STATUS_RELEASED
REFUNDING, REFUNDED = purchase_pb2.PURCHASE_STATUS_REFUNDING, purchase_pb2.PURCHASE_STATUS_REFUNDED
PRICE = 2_500


@pytest.fixture
async def service(make_settings, tickets_url: URL, clock):
    """Run a ticket service whose sweeper runs every 100 ms."""
    async with running(
        App(make_settings(TICKETS_SWEEP_SECONDS="0.1", TICKETS_HOLD_SECONDS="600"), tickets_url, clock)
    ) as address:
        yield address


@pytest.fixture
async def event(shop: Shop) -> event_pb2.Event:
    """Put three places on sale, two of them by an offer."""
    offers = [
        event_pb2.TicketOffer(ticket_type=STANDARD, price=money(PRICE), capacity=2),
        event_pb2.TicketOffer(ticket_type=VIP, price=money(9_000)),
    ]
    return await shop.on_sale(ticket_price=money(PRICE), max_participants=3, offers=offers)


async def expire(shop: Shop, clock, purchase: purchase_pb2.Purchase) -> None:
    clock.advance(timedelta(seconds=600))

    async def is_over() -> bool:
        return (await shop.read(purchase)).status != HELD

    await until(is_over)


async def test_an_unpaid_purchase_is_held_for_ten_minutes(shop, event, clock):
    held = await shop.buy(event.event_id, quantity=2)
    assert (held.status, held.total.minor_units, list(held.tickets)) == (HELD, 2 * PRICE, [])
    assert held.hold_expire_time.ToDatetime(tzinfo=UTC) == clock.now + timedelta(minutes=10)
    assert not held.HasField("complete_time")
    assert await shop.left(event) == 1
    assert (await refusal(shop.buy(event.event_id))).reason == "SOLD_OUT"
    stored = await shop.get(event.event_id)
    assert [offer.reserved for offer in stored.offers] == [2, 0]


async def test_a_repeated_request_returns_the_same_hold(shop, event):
    request_id = new_id()
    held = await shop.buy(event.event_id, request_id=request_id)
    assert await shop.buy(event.event_id, request_id=request_id) == held
    assert await shop.left(event) == 2


async def test_a_payment_completes_a_hold_once(shop, event):
    held = await shop.buy(event.event_id, quantity=2)
    done = await shop.report_payment(held, "pay-1")
    assert (done.status, len(done.tickets), done.payment.payment_id) == (COMPLETED, 2, "pay-1")
    assert not done.HasField("hold_expire_time")
    assert await shop.report_payment(held, "pay-1") == done
    assert await shop.left(event) == 1
    mine = await shop.read(held)
    assert all(ticket.token and ticket.code for ticket in mine.tickets)
    assert len({ticket.ticket_id for ticket in mine.tickets}) == 2


async def test_concurrent_confirmations_issue_the_tickets_once(shop, event):
    held = await shop.buy(event.event_id, quantity=2)
    answer = await asyncio.gather(*(shop.report_payment(held, "pay-1") for _ in range(6)))
    assert len({one.SerializeToString(deterministic=True) for one in answer}) == 1


async def test_the_places_of_an_expired_hold_return_to_sale(shop, event, clock):
    held = await shop.buy(event.event_id, quantity=2)
    await expire(shop, clock, held)
    expired = await shop.read(held)
    assert (expired.status, expired.complete_time.ToDatetime(tzinfo=UTC)) == (EXPIRED, clock.now)
    assert await shop.left(event) == 3
    assert [offer.reserved for offer in (await shop.get(event.event_id)).offers] == [0, 0]


async def test_a_late_payment_is_honoured_while_places_are_left(shop, event, clock):
    held = await shop.buy(event.event_id, quantity=2)
    await expire(shop, clock, held)
    done = await shop.report_payment(held, "pay-1")
    assert (done.status, len(done.tickets)) == (COMPLETED, 2)
    assert await shop.left(event) == 1


async def test_a_late_payment_in_another_currency_than_the_event_is_refunded(shop, event, clock, database):
    held = await shop.buy(event.event_id)
    for offer in event.offers:
        offer.price.currency_code = "CHF"
    event.ticket_price.currency_code = "CHF"
    refused = await refusal(shop.update(event, "ticket_price", "offers"))
    assert refused.reason == "EVENT_NOT_CHANGEABLE"
    await expire(shop, clock, held)
    await shop.update(event, "ticket_price", "offers")
    late = await shop.report_payment(held, "pay-1")
    assert (late.status, list(late.tickets)) == (REFUNDING, [])
    assert await owed(database) == [("pay-1", True, None)]
    assert await shop.left(event) == 3


async def test_a_payment_reported_for_two_events_at_once_pays_one(shop, event, tickets_url):
    other = await shop.on_sale(ticket_price=money(PRICE))
    held = [await shop.buy(one.event_id) for one in (event, other)]
    with connected(tickets_url) as first:
        # Another process has inserted the payment and not committed yet.
        first.execute(
            "INSERT INTO payments (provider, payment_id, event_id, purchase_id, currency, amount, create_time)"
            " VALUES ('external', 'pay-1', %s, %s, 'EUR', %s, now())",
            [held[0].event_id, held[0].purchase_id, PRICE],
        )
        second = asyncio.create_task(refusal(shop.report_payment(held[1], "pay-1")))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await until(lambda: read_value(tickets_url, waiting))
    refused = await second
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "PAYMENT_ALREADY_USED")
    assert refused.metadata == {"payment_id": "pay-1", "purchase_id": held[0].purchase_id}
    assert (await shop.read(held[1])).status == HELD


async def owed(database: Database) -> list[tuple[str, bool, str | None]]:
    query = sa.select(payments.c.payment_id, payments.c.refund_due, payments.c.refund_id).order_by(
        payments.c.payment_id
    )
    return [tuple(row) for row in await database.run(lambda connection: connection.execute(query).all())]


async def confirm_refund(channel, shop: Shop, purchase: purchase_pb2.Purchase, refund_id: str) -> None:
    request = ticket_service_pb2.ConfirmRefundRequest(purchase_id=purchase.purchase_id, refund_id=refund_id)
    await TicketServiceStub(channel).ConfirmRefund(request, metadata=shop.metadata(Shop.BACKEND))


async def test_a_late_payment_without_places_is_refunded(shop, event, clock, channel, database):
    held = await shop.buy(event.event_id, quantity=2)
    await expire(shop, clock, held)
    await shop.report_payment(await shop.buy(event.event_id, ("user", "bob")), "pay-bob")
    late = await shop.report_payment(held, "pay-1")
    assert (late.status, list(late.tickets)) == (REFUNDING, [])
    assert await shop.left(event) == 2
    request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
    sales = await shop.events.GetEventSales(request, metadata=shop.metadata(Shop.OLGA))
    assert sales.refunds_pending == 1
    # A retry confirms the refund twice.
    for _ in range(2):
        await confirm_refund(channel, shop, held, "refund-1")
    assert (await shop.read(held)).status == REFUNDED
    assert await owed(database) == [("pay-1", True, "refund-1"), ("pay-bob", False, None)]
    refused = await refusal(confirm_refund(channel, shop, held, "refund-2"))
    wanted = {"from": "REFUNDED", "to": "REFUNDED", "instead": "NOTHING"}
    assert (refused.reason, refused.metadata) == ("ILLEGAL_TRANSITION", wanted)
    # Another late payment is refunded too.
    assert (await shop.report_payment(held, "pay-2")).status == REFUNDING


async def test_a_second_payment_is_refunded_and_the_tickets_stay(shop, event, channel, database):
    held = await shop.buy(event.event_id)
    done = await shop.report_payment(held, "pay-1")
    assert await shop.report_payment(held, "pay-2") == done
    assert await owed(database) == [("pay-1", False, None), ("pay-2", True, None)]
    await confirm_refund(channel, shop, held, "refund-2")
    assert await owed(database) == [("pay-1", False, None), ("pay-2", True, "refund-2")]
    assert (await shop.read(held)).status == COMPLETED


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "ended"])
async def test_a_payment_of_a_cancelled_or_ended_event_is_refunded(shop, event, clock, is_cancelled):
    held = await shop.buy(event.event_id)
    if is_cancelled:
        cancel = event_service_pb2.CancelEventRequest(event_id=event.event_id)
        await shop.events.CancelEvent(cancel, metadata=shop.metadata(Shop.OLGA))
    else:
        clock.advance(timedelta(days=11))
    late = await shop.report_payment(held, "pay-1")
    assert (late.status, list(late.tickets)) == (REFUNDING, [])
    assert await shop.left(event) == 3


async def test_a_released_hold_releases_its_places_at_once(shop, event):
    held = await shop.buy(event.event_id, quantity=2)
    released = await shop.release(held)
    assert released.status == RELEASED
    assert await shop.left(event) == 3
    assert await shop.release(held) == released
    assert await shop.left(event) == 3


async def test_a_paid_purchase_is_not_released(shop, event):
    held = await shop.buy(event.event_id)
    await shop.report_payment(held, "pay-1")
    refused = await refusal(shop.release(held))
    assert (refused.reason, refused.metadata) == ("ILLEGAL_TRANSITION", {"from": "COMPLETED", "to": "RELEASED"})


async def test_a_payment_pays_one_purchase_at_exactly_its_price(shop, event):
    first, second = await shop.buy(event.event_id), await shop.buy(event.event_id, ("user", "bob"))
    refused = await refusal(shop.report_payment(first, "pay-1", paid=PRICE - 1))
    assert (refused.reason, refused.metadata["actual"]) == ("PRICE_CHANGED", str(PRICE))
    await shop.report_payment(first, "pay-1")
    refused = await refusal(shop.report_payment(second, "pay-1"))
    assert refused.reason == "PAYMENT_ALREADY_USED"
    assert refused.metadata == {"payment_id": "pay-1", "purchase_id": first.purchase_id}
    assert (await shop.read(second, ("user", "bob"))).status == HELD


async def test_a_buyer_confirms_no_payment_and_sees_own_purchases_only(shop, event):
    held = await shop.buy(event.event_id)
    assert (await refusal(shop.report_payment(held, "pay-1", Shop.ALICE))).code is grpc.StatusCode.PERMISSION_DENIED
    assert (await refusal(shop.report_payment(held, "pay-1", ("organizer", "oscar")))).reason == "PURCHASE_NOT_FOUND"
    assert (await refusal(shop.release(held, ("user", "bob")))).reason == "PURCHASE_NOT_FOUND"
    assert (await shop.report_payment(held, "pay-1", Shop.OLGA)).status == COMPLETED


async def test_bad_requests_name_every_field_at_fault(shop):
    wrong = pb.ConfirmPurchaseRequest(purchase_id="x", external_payment_id="pay-1")
    refused = await refusal(shop.purchases.ConfirmPurchase(wrong, metadata=shop.metadata(Shop.BACKEND)))
    assert refused.fields == {"purchase_id", "paid.currency_code"}
    wrong = pb.ConfirmPurchaseRequest(purchase_id="x", paid=money(1))
    refused = await refusal(shop.purchases.ConfirmPurchase(wrong, metadata=shop.metadata(Shop.BACKEND)))
    assert refused.fields == {"purchase_id", "external_payment_id"}
    wrong = pb.ConfirmPurchaseRequest(purchase_id="x")
    refused = await refusal(shop.purchases.ConfirmPurchase(wrong, metadata=shop.metadata()))
    assert refused.fields == {"purchase_id"}
    refused = await refusal(shop.purchases.ReleasePurchase(pb.ReleasePurchaseRequest(), metadata=shop.metadata()))
    assert refused.fields == {"purchase_id"}


async def test_a_new_offer_counts_the_places_held_before(shop, clock):
    plain = await shop.on_sale(ticket_price=money(PRICE))
    held = await shop.buy(plain.event_id, quantity=2)
    plain.offers.append(event_pb2.TicketOffer(ticket_type=STANDARD, price=money(PRICE), capacity=2))
    changed = await shop.update(plain, "offers")
    assert [offer.reserved for offer in changed.offers] == [2]
    await expire(shop, clock, held)
    assert [offer.reserved for offer in (await shop.get(plain.event_id)).offers] == [0]


async def test_concurrent_payments_and_expiry_sell_no_place_twice(shop, clock, database):
    event = await shop.on_sale(ticket_price=money(PRICE), max_participants=10)
    held = await asyncio.gather(*(shop.buy(event.event_id, ("user", f"user-{n}")) for n in range(10)))
    clock.advance(timedelta(seconds=600))
    ends = await asyncio.gather(
        *(shop.report_payment(one, f"pay-{n}") for n, one in enumerate(held[:5])),
        *(shop.release(one, ("user", f"user-{n}")) for n, one in enumerate(held[5:8], 5)),
    )
    assert {end.status for end in ends[:5]} == {COMPLETED}
    assert {end.status for end in ends[5:]} <= {RELEASED, EXPIRED}
    await until(lambda: shop.left(event), 5)
    waiting = sa.select(sa.func.count()).where(purchases.c.status == "HELD")
    assert await database.run(lambda connection: connection.execute(waiting).scalar_one()) == 0
    assert (await shop.buy(event.event_id, items=items((STANDARD, 5)))).status == HELD
