"""A refund by Stripe is made once, or its failure is visible."""

from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.selling.shop import Shop, money
from tests.stand_ins.stripe import CARD
from ticket_service.domain.notifications import Kind
from ticket_service.store.tables import outbox
from ticket_service.use_cases.refunds import MAX_RETRY_SECONDS, Refunds
from ticketing.chassis.database import Database
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("patience", "adds_up")]

REFUNDING, DONE = ticket_pb2.CANCELLATION_STATUS_REFUNDING, ticket_pb2.CANCELLATION_STATUS_DONE
FAILED = ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED
PRICE = 2_500


@pytest.fixture
def service(card_service: str) -> str:
    return card_service


@pytest.fixture
async def event(shop: Shop) -> event_pb2.Event:
    return await shop.on_sale(ticket_price=money(PRICE))


@pytest.fixture
def tickets(channel: grpc.aio.Channel) -> Any:
    return TicketServiceStub(channel)


async def cancel(tickets: Any, shop: Shop, ticket_id: str) -> ticket_pb2.Cancellation:
    request = pb.CancelTicketRequest(ticket_id=ticket_id)
    return (await tickets.CancelTicket(request, metadata=shop.metadata())).cancellation


async def read(tickets: Any, shop: Shop, one: ticket_pb2.Cancellation) -> ticket_pb2.Cancellation:
    request = pb.GetCancellationRequest(cancellation_id=one.cancellation_id)
    return (await tickets.GetCancellation(request, metadata=shop.metadata())).cancellation


async def retry(
    tickets: Any, shop: Shop, one: ticket_pb2.Cancellation, by: tuple[str, str] = Shop.OLGA
) -> ticket_pb2.Cancellation:
    request = pb.RetryRefundRequest(cancellation_id=one.cancellation_id)
    return (await tickets.RetryRefund(request, metadata=shop.metadata(by))).cancellation


async def has_status(tickets: Any, shop: Shop, one: ticket_pb2.Cancellation, status: int) -> ticket_pb2.Cancellation:
    async def found() -> int:
        return (await read(tickets, shop, one)).status

    await until(found, status)
    return await read(tickets, shop, one)


async def test_each_ticket_of_a_purchase_is_refunded_once(shop, event, tickets, stripe, database):
    bought = await shop.buy(event.event_id, quantity=3, payment_method_id=CARD)
    asked = [await cancel(tickets, shop, ticket.ticket_id) for ticket in bought.tickets[:2]]
    assert {one.status for one in asked} <= {REFUNDING, DONE}
    done = [await has_status(tickets, shop, one, DONE) for one in asked]
    made = {refund["metadata"]["order_id"]: refund["id"] for refund in stripe.refunds}
    assert {one.cancellation_id: one.refund_id for one in done} == made
    assert stripe.refunded() == {bought.purchase_id: 2 * PRICE}
    keys = [key for call, key in zip(stripe.calls, stripe.keys, strict=True) if call == "refund"]
    assert set(keys) == {f"refund-{one.cancellation_id}-1-{PRICE}" for one in asked}
    answer = await database.run(
        lambda c: list(c.execute(sa.select(outbox.c.kind).order_by(outbox.c.position)).scalars())
    )
    # The caller's own system is not asked to refund it too.
    assert Kind.REFUND_REQUESTED not in answer
    assert answer.count(Kind.REFUND_MADE) == 2


async def test_a_refund_with_a_lost_answer_is_not_made_twice(shop, event, tickets, stripe, clock):
    bought = await shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    stripe.loses["refund"] = 1
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    await until(lambda: len(stripe.refunds) == 1)
    # Otherwise the idempotency key alone would prevent the second refund.
    stripe.forget_keys()
    clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
    done = await has_status(tickets, shop, asked, DONE)
    assert [refund["id"] for refund in stripe.refunds] == [done.refund_id]


async def test_a_refund_is_tried_until_stripe_answers(shop, event, tickets, stripe, clock):
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    stripe.fails["refund"] = 500
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    await until(lambda: "refund" in stripe.calls)
    assert (await read(tickets, shop, asked)).status == REFUNDING
    stripe.fails.clear()
    clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
    await has_status(tickets, shop, asked, DONE)
    assert stripe.refunded() == {bought.purchase_id: PRICE}


async def test_a_pending_refund_is_checked_again_and_not_made_twice(shop, event, tickets, stripe, clock):
    bought = await shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    stripe.refund_status = "pending"
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    await until(lambda: len(stripe.refunds) == 1)
    assert (await read(tickets, shop, asked)).status == REFUNDING
    stripe.settle_refund(stripe.refunds[0]["id"], "succeeded")
    clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
    await has_status(tickets, shop, asked, DONE)
    assert len(stripe.refunds) == 1


async def test_the_organizer_retries_a_refused_refund(shop, event, tickets, stripe, clock):
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    stripe.refuses_refunds = "the card is closed"
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    failed = await has_status(tickets, shop, asked, FAILED)
    assert (failed.failure, failed.refund_id, failed.refund_amount) == ("the card is closed", "", money(PRICE))
    sales = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
    answer = await shop.events.GetEventSales(sales, metadata=shop.metadata(Shop.OLGA))
    assert (answer.refunds_pending, answer.refunds_failed) == (0, 1)
    listing = pb.ListCancellationsRequest(status=FAILED)
    listed = await tickets.ListCancellations(listing, metadata=shop.metadata(Shop.OLGA))
    assert [one.cancellation_id for one in listed.cancellations] == [asked.cancellation_id]
    # The refund waits for the organizer; time alone changes nothing.
    clock.advance(timedelta(days=1))
    assert stripe.calls.count("refund") == 1

    stripe.refuses_refunds = ""
    again = await retry(tickets, shop, asked)
    assert (again.status, again.failure) == (REFUNDING, "")
    done = await has_status(tickets, shop, asked, DONE)
    assert done.refund_id == stripe.refunds[0]["id"]
    assert await retry(tickets, shop, asked) == done
    assert stripe.refunded() == {bought.purchase_id: PRICE}


async def test_a_refund_that_a_bank_returned_is_made_anew_on_retry(shop, event, tickets, stripe, clock):
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    stripe.refund_status = "pending"
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    await until(lambda: len(stripe.refunds) == 1)
    stripe.settle_refund(stripe.refunds[0]["id"], "failed", "lost_or_stolen_card")
    clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
    assert (await has_status(tickets, shop, asked, FAILED)).failure == "lost_or_stolen_card"
    stripe.refund_status = "succeeded"
    await retry(tickets, shop, asked)
    await has_status(tickets, shop, asked, DONE)
    assert stripe.refunded() == {bought.purchase_id: PRICE}


async def test_only_the_organizer_retries_and_only_a_refund_due(shop, tickets, stripe, clock):
    event = await shop.on_sale(ticket_price=money(PRICE))
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    clock.advance(timedelta(days=9))
    for_nothing = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    assert for_nothing.status == DONE
    refused = await refusal(retry(tickets, shop, for_nothing))
    assert (refused.reason, refused.metadata) == ("ILLEGAL_TRANSITION", {"from": "DONE", "to": "REFUNDING"})
    assert (await refusal(retry(tickets, shop, for_nothing, ("organizer", "oscar")))).reason == "CANCELLATION_NOT_FOUND"
    assert (await refusal(retry(tickets, shop, for_nothing, Shop.ALICE))).code is grpc.StatusCode.PERMISSION_DENIED
    assert stripe.refunded() == {}


async def test_a_refund_by_stripe_is_not_confirmed_by_hand(shop, event, tickets, stripe):
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    stripe.fails["refund"] = 500
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    request = pb.ConfirmRefundRequest(cancellation_id=asked.cancellation_id, refund_id="by hand")
    refused = await refusal(tickets.ConfirmRefund(request, metadata=shop.metadata(Shop.BACKEND)))
    assert refused.reason == "ILLEGAL_TRANSITION"


async def test_a_late_payment_is_pending_until_stripe_refunds_it(shop, event, tickets, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id="pm_3d_secure")
    off = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(off, metadata=shop.metadata(Shop.OLGA))
    stripe.refuses_refunds = "the balance is too low"
    stripe.finish(held.payment.payment_id)
    clock.advance(timedelta(minutes=1))
    await until(lambda: "refund" in stripe.calls)
    request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)

    async def pending() -> int:
        return (await shop.events.GetEventSales(request, metadata=shop.metadata(Shop.OLGA))).refunds_pending

    assert await pending() == 1
    stripe.refuses_refunds = ""

    # The sweeper retries it every hour, without the organizer.
    async def pending_in_an_hour() -> int:
        clock.advance(timedelta(hours=1))
        return await pending()

    await until(pending_in_an_hour, 0)
    assert stripe.refunded() == {held.purchase_id: PRICE}


class NoComparison:
    """No order is compared, because no provider is configured."""

    def compare_order(self, *_arguments: object) -> None:
        raise AssertionError("no provider listed refunds")


@pytest.fixture
def refunds_without_stripe(database: Database, clock) -> Refunds:
    return Refunds(database, {}, NoComparison(), clock)


async def test_a_refund_waits_for_its_provider_to_be_configured(shop, tickets, stripe, clock, refunds_without_stripe):
    event = await shop.on_sale(ticket_price=money(PRICE))
    bought = await shop.buy(event.event_id, payment_method_id=CARD)
    stripe.fails["refund"] = 500
    asked = await cancel(tickets, shop, bought.tickets[0].ticket_id)
    await until(lambda: "refund" in stripe.calls)
    clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
    assert not await refunds_without_stripe.sweep_unconfigured()
    assert (await read(tickets, shop, asked)).status == REFUNDING


async def test_a_cancelled_event_is_refunded_by_stripe(shop, event, tickets, stripe):
    bought = [await shop.buy(event.event_id, quantity=2, payment_method_id=CARD) for _ in range(3)]
    off = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(off, metadata=shop.metadata(Shop.OLGA))
    await until(lambda: len(stripe.refunds) == 6)
    assert stripe.refunded() == {one.purchase_id: 2 * PRICE for one in bought} == stripe.charged()
