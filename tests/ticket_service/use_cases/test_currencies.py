"""Prices and refunds in currencies that Stripe counts in another unit than ISO 4217, or not at all."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from sqlalchemy.engine import URL

from tests.environment.databases import execute
from tests.environment.refusals import refusal
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import VIP, Shop, money
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import CARD, KEY, StripeStandIn
from ticket_service.adapters.stripe.records import read_records
from ticket_service.app import App
from ticket_service.commands.audit import audit
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow

DONE, FAILED = ticket_pb2.CANCELLATION_STATUS_DONE, ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED


@pytest.fixture
async def settings(make_settings, stripe: StripeStandIn, scans: ScansStandIn) -> dict[str, str]:
    return {
        "TICKETS_SCANS_ADDRESS": f"127.0.0.1:{await scans.start()}",
        "TICKETS_SWEEP_SECONDS": "0.1",
        "TICKETS_STRIPE_KEY": KEY,
        "TICKETS_STRIPE_API_BASE": stripe.api_base,
    }


@pytest.fixture
async def service(make_settings, settings, tickets_url: URL, clock):
    async with running(App(make_settings(**settings), tickets_url, clock)) as address:
        yield address


@pytest.fixture
def tickets(channel: grpc.aio.Channel) -> Any:
    return TicketServiceStub(channel)


@pytest.fixture
async def equals_stripe(tickets_url: URL, stripe: StripeStandIn):
    """Check after the test that the audit finds the same money at Stripe."""
    yield
    lines: list[str] = []
    records = {"stripe": lambda: read_records(KEY, stripe.api_base)}
    assert await asyncio.to_thread(audit, tickets_url, lines.append, records) == 0, "\n".join(lines)


async def cancel(tickets: Any, shop: Shop, ticket_id: str) -> ticket_pb2.Cancellation:
    request = pb.CancelTicketRequest(ticket_id=ticket_id)
    return (await tickets.CancelTicket(request, metadata=shop.metadata())).cancellation


async def settled(tickets: Any, shop: Shop, one: ticket_pb2.Cancellation, status: int) -> ticket_pb2.Cancellation:
    request = pb.GetCancellationRequest(cancellation_id=one.cancellation_id)

    async def read() -> int:
        return (await tickets.GetCancellation(request, metadata=shop.metadata())).cancellation.status

    await until(read, status)
    return (await tickets.GetCancellation(request, metadata=shop.metadata())).cancellation


@pytest.mark.usefixtures("equals_stripe")
@pytest.mark.parametrize(
    ("price", "at_stripe", "half", "half_at_stripe"),
    [
        (money(2_500, "EUR"), 2_500, 1_250, 1_250),
        (money(5_900, "ISK"), 590_000, 2_950, 295_000),
        (money(5_901, "ISK"), 590_100, 2_951, 295_100),
        (money(38_000, "UGX"), 3_800_000, 19_000, 1_900_000),
        (money(5_000, "JPY"), 5_000, 2_500, 2_500),
        (money(250_100, "MGA"), 2_501, 125_100, 1_251),
        (money(5_250, "KWD"), 5_250, 2_630, 2_630),
        (money(30, "TND"), 30, 20, 20),
    ],
)
async def test_charge_and_refund_are_in_the_unit_of_stripe(  # noqa: PLR0913, PLR0917 - fixtures and a table
    shop, tickets, stripe, clock, price, at_stripe, half, half_at_stripe
):
    event = await shop.on_sale(ticket_price=price)
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    assert stripe.charged() == {bought.purchase_id: at_stripe}
    clock.advance(timedelta(days=5))
    done = await settled(tickets, shop, await cancel(tickets, shop, bought.tickets[0].ticket_id), DONE)
    assert done.refund_amount == money(half, price.currency_code)
    assert stripe.refunded() == {bought.purchase_id: half_at_stripe}


@pytest.mark.usefixtures("equals_stripe")
async def test_a_cancelled_event_refunds_what_was_paid(shop, stripe):
    event = await shop.on_sale(ticket_price=money(5_250, "KWD"))
    bought = await shop.buy(event.event_id, quantity=3, payment_method_id=CARD)
    off = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(off, metadata=shop.metadata(Shop.OLGA))
    await until(lambda: len(stripe.refunds) == 3)
    assert stripe.refunded() == stripe.charged() == {bought.purchase_id: 15_750}


@pytest.mark.usefixtures("equals_stripe")
async def test_a_retry_rounds_a_refund_that_an_earlier_version_ordered(shop, tickets, stripe, clock, tickets_url):
    event = await shop.on_sale(ticket_price=money(5_250, "KWD"))
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    stripe.refuses_refunds = "Invalid amount"
    clock.advance(timedelta(days=5))
    failed = await settled(tickets, shop, await cancel(tickets, shop, bought.tickets[0].ticket_id), FAILED)
    stripe.refuses_refunds = ""
    execute(tickets_url, "UPDATE cancellations SET refund_amount = 2625")
    execute(tickets_url, "UPDATE refund_orders SET amount = 2625, status = 'PENDING', round = 2, due_time = now()")
    execute(tickets_url, "UPDATE cancellations SET status = 'REFUNDING'")
    # Stripe would refuse the amount for ever, so the adapter does not send it.
    calls = stripe.calls.count("refund")
    again = await settled(tickets, shop, failed, FAILED)
    assert (again.refund_amount, stripe.calls.count("refund")) == (money(2_625, "KWD"), calls)
    request = pb.RetryRefundRequest(cancellation_id=failed.cancellation_id)
    retried = (await tickets.RetryRefund(request, metadata=shop.metadata(Shop.OLGA))).cancellation
    assert retried.refund_amount == money(2_630, "KWD")
    await settled(tickets, shop, failed, DONE)
    assert stripe.refunded() == {bought.purchase_id: 2_630}


def offer(price: int, currency: str, **changes: Any) -> event_pb2.TicketOffer:
    return event_pb2.TicketOffer(ticket_type=VIP, price=money(price, currency), **changes)


@pytest.mark.parametrize(
    ("price", "currency", "field"),
    [
        (5_255, "KWD", "event.ticket_price.minor_units"),
        (250_050, "MGA", "event.ticket_price.minor_units"),
        (49, "EUR", "event.ticket_price.minor_units"),
        (5_000, "IQD", "event.ticket_price.currency_code"),
        (5_000, "XYZ", "event.ticket_price.currency_code"),
        (5_000, "BTC", "event.ticket_price.currency_code"),
        (5_000, "XAU", "event.ticket_price.currency_code"),
        (5_000, "CLF", "event.ticket_price.currency_code"),
    ],
)
async def test_a_price_that_stripe_cannot_charge_is_refused(shop, price, currency, field):
    refused = await refusal(shop.create(ticket_price=money(price, currency)))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, frozenset({field}))


async def test_a_new_price_that_stripe_cannot_charge_is_refused(shop):
    event = await shop.create(ticket_price=money(5_250, "KWD"))
    event.offers.append(offer(999, "KWD"))
    refused = await refusal(shop.update(event, "offers"))
    assert refused.fields == {"event.offers[0].price.minor_units"}
    event.ticket_price.minor_units = 5_255
    refused = await refusal(shop.update(event, "ticket_price"))
    assert refused.fields == {"event.ticket_price.minor_units"}
    event.offers[0].price.minor_units = 990
    assert (await shop.update(event, "offers")).offers[0].price.minor_units == 990


async def test_a_provider_that_is_configured_later_is_checked_when_the_event_goes_on_sale(
    make_settings, settings, tickets_url, clock, issuer
):
    async with (
        running(App(make_settings(), tickets_url, clock)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        shop = Shop(channel, issuer, clock())
        draft = await shop.create(ticket_price=money(5_000, "IQD"))
        sold = await shop.on_sale(ticket_price=money(5_255, "KWD"))
        assert (await refusal(shop.create(ticket_price=money(5_000, "XTS")))).fields == {
            "event.ticket_price.currency_code"
        }
    async with (
        running(App(make_settings(**settings), tickets_url, clock)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        shop = Shop(channel, issuer, clock())
        refused = await refusal(shop.publish(draft.event_id))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRICE_NOT_CHARGEABLE")
        assert refused.metadata == {
            "event_id": draft.event_id,
            "field": "ticket_price.currency_code",
            "provider": "stripe",
        }
        # An event on sale goes on: its other fields change, a repeated publication is no error, and a card is declined.
        sold.name = "Recital"
        assert (await shop.update(sold, "name", "ticket_price")).name == "Recital"
        await shop.publish(sold.event_id)
        declined = await shop.buy(sold.event_id, payment_method_id=CARD)
        assert declined.payment.decline_code == "invalid_amount"
