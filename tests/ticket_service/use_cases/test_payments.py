"""Card payments end correctly after every answer of Stripe, also after late and lost ones."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.refusals import refusal
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import Shop, money, new_id
from tests.stand_ins.stripe import CARD, DECLINED, KEY, SECURE, UNKNOWN, StripeStandIn
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.app import App
from ticket_service.domain.notifications import Kind
from ticket_service.domain.payments import MAX_POLL_INTERVAL, POLL_INTERVAL, SWEEPER_DELAY
from ticket_service.store.tables import outbox
from ticket_service.use_cases.confirmations import Confirmations
from ticket_service.use_cases.holds import CLAIM, CLAIM_SPREAD_SECONDS
from ticket_service.use_cases.payments import MAX_SWEEP
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("adds_up")]

HELD, COMPLETED = purchase_pb2.PURCHASE_STATUS_HELD, purchase_pb2.PURCHASE_STATUS_COMPLETED
EXPIRED, RELEASED = purchase_pb2.PURCHASE_STATUS_EXPIRED, purchase_pb2.PURCHASE_STATUS_RELEASED
REFUNDED, DECLINED_STATUS = purchase_pb2.PURCHASE_STATUS_REFUNDED, purchase_pb2.PURCHASE_STATUS_DECLINED
PRICE = 2_500


@pytest.fixture
def call_seconds() -> float:
    """Return the timeout of calls to Stripe: longer than in production, because the test machine may be busy."""
    return 20.0


@pytest.fixture(autouse=True)
def patience(call_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", call_seconds)


@pytest.fixture
async def service(make_settings, tickets_url: URL, clock, stripe: StripeStandIn):
    """Run a ticket service that charges cards and whose sweeper runs every 100 ms."""
    settings = make_settings(
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
        # The outbox keeps its rows for the assertions.
        TICKETS_RELAY="off",
    )
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


@pytest.fixture
async def event(shop: Shop) -> event_pb2.Event:
    """Put three places on sale."""
    return await shop.on_sale(ticket_price=money(PRICE), max_participants=3)


async def has_status(
    shop: Shop, purchase: purchase_pb2.Purchase, status: int, by: tuple[str, str] = Shop.ALICE
) -> purchase_pb2.Purchase:
    async def ask() -> int:
        return (await shop.read(purchase, by)).status

    await until(ask, status)
    return await shop.read(purchase, by)


async def test_a_good_card_is_charged_once_and_completes_the_purchase(shop, event, stripe):
    done = await shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    assert (done.status, len(done.tickets), done.payment.provider) == (COMPLETED, 2, "stripe")
    assert stripe.intents[done.payment.payment_id]["amount"] == 2 * PRICE
    assert stripe.intents[done.payment.payment_id]["currency"] == "eur"
    assert stripe.charged() == {done.purchase_id: 2 * PRICE}
    assert stripe.calls == ["create", "retrieve", "confirm"]
    assert (done.payment.client_secret, done.payment.decline_code) == ("", "")
    assert await shop.left(event) == 1
    assert await shop.read(done) == done


async def test_create_has_a_fixed_key_and_other_calls_a_new_one(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    await shop.release(held)
    keys = [key for call, key in zip(stripe.calls, stripe.keys, strict=True) if call != "retrieve"]
    assert keys[0] == f"create-{held.purchase_id}"
    assert len(set(keys)) == 3
    assert held.purchase_id not in "".join(keys[1:])


@pytest.mark.parametrize("operation", ["create", "confirm"])
async def test_a_saved_server_error_is_not_repeated_for_a_day(shop, event, stripe, clock, operation):
    stripe.breaks[operation] = 500
    held = await shop.buy(event.event_id, payment_method_id=CARD)
    assert held.status == HELD
    stripe.breaks.clear()
    clock.advance(SWEEPER_DELAY)
    await has_status(shop, held, COMPLETED)
    assert stripe.charged() == {held.purchase_id: PRICE}


async def test_a_saved_refusal_to_cancel_is_not_repeated_for_a_day(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.intents[held.payment.payment_id]["status"] = "processing"
    assert (await refusal(shop.release(held))).code is grpc.StatusCode.UNAVAILABLE
    # The bank asks the buyer again: the service sees both statuses as WAITING.
    stripe.intents[held.payment.payment_id]["status"] = "requires_action"
    assert (await shop.release(held)).status == RELEASED
    assert stripe.intents[held.payment.payment_id]["status"] == "canceled"


async def test_a_retried_request_charges_nothing_more(shop, event, stripe):
    request_id = new_id()
    answer = await asyncio.gather(
        *(shop.buy(event.event_id, payment_method_id=CARD, request_id=request_id) for _ in range(5))
    )
    assert len({one.purchase_id for one in answer}) == 1
    await has_status(shop, answer[0], COMPLETED)
    assert stripe.charged() == {answer[0].purchase_id: PRICE}
    other = await refusal(shop.buy(event.event_id, payment_method_id=SECURE, request_id=request_id))
    assert other.reason == "REQUEST_ID_REUSED"


async def test_a_declined_card_releases_the_places_with_its_code(shop, event, stripe):
    declined = await shop.buy(event.event_id, quantity=3, payment_method_id=DECLINED)
    assert (declined.status, declined.payment.decline_code) == (DECLINED_STATUS, "insufficient_funds")
    assert stripe.intents[declined.payment.payment_id]["status"] == "canceled"
    assert (stripe.charged(), await shop.left(event)) == ({}, 3)
    assert (await shop.confirm(declined)).status == DECLINED_STATUS


async def test_an_unknown_payment_method_is_declined(shop, event, stripe):
    declined = await shop.buy(event.event_id, payment_method_id=UNKNOWN)
    assert (declined.status, declined.payment.decline_code) == (DECLINED_STATUS, "resource_missing")
    assert (stripe.intents, await shop.left(event)) == ({}, 3)
    assert (await shop.confirm(declined)).status == DECLINED_STATUS


async def test_a_free_ticket_is_not_charged(shop, stripe):
    free = await shop.on_sale()
    done = await shop.buy(free.event_id, payment_method_id=CARD)
    assert (done.status, done.payment.provider, stripe.calls) == (COMPLETED, "free", [])


async def test_a_buyer_confirms_at_the_bank_and_then_at_the_service(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    assert held.status == HELD
    assert held.payment.client_secret == f"{held.payment.payment_id}_secret"
    assert (await shop.read(held, Shop.BACKEND)).payment.client_secret
    assert not (await shop.read(held, Shop.OLGA)).payment.client_secret
    assert (await shop.confirm(held)).status == HELD
    stripe.finish(held.payment.payment_id)
    done = await shop.confirm(held)
    assert (done.status, len(done.tickets), done.payment.client_secret) == (COMPLETED, 1, "")
    assert await shop.confirm(held) == done
    assert stripe.charged() == {held.purchase_id: PRICE}


async def test_places_held_until_a_card_fails_count_as_unpaid(shop, stripe, clock):
    event = await shop.on_sale(ticket_price=money(PRICE), max_participants=60)
    for _ in range(3):
        held = await shop.buy(event.event_id, quantity=20, payment_method_id=SECURE)
        clock.advance(timedelta(minutes=9))
        stripe.finish(held.payment.payment_id, succeeds=False)
        assert (await shop.confirm(held)).status == DECLINED_STATUS
    refused = await refusal(shop.buy(event.event_id, quantity=20, payment_method_id=SECURE))
    assert (refused.reason, refused.metadata["have"]) == ("CUSTOMER_HOLD_LIMIT", "60")


async def test_places_of_a_card_declined_at_once_do_not_count_as_unpaid(shop):
    event = await shop.on_sale(ticket_price=money(PRICE), max_participants=60)
    for _ in range(4):
        declined = await shop.buy(event.event_id, quantity=20, payment_method_id=DECLINED)
        assert declined.status == DECLINED_STATUS
    assert (await shop.buy(event.event_id, quantity=20, payment_method_id=CARD)).status == COMPLETED


async def test_a_failed_confirmation_at_the_bank_declines_the_purchase(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.finish(held.payment.payment_id, succeeds=False)
    declined = await shop.confirm(held)
    assert declined.status == DECLINED_STATUS
    assert declined.payment.decline_code == "payment_intent_authentication_failure"
    assert await shop.left(event) == 3


async def test_a_payment_at_the_bank_is_found_without_confirmation(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.finish(held.payment.payment_id)
    clock.advance(POLL_INTERVAL)
    assert len((await has_status(shop, held, COMPLETED)).tickets) == 1


async def test_an_unpaid_hold_expires_and_its_charge_is_withdrawn(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    clock.advance(timedelta(minutes=10))
    await has_status(shop, held, EXPIRED)
    assert stripe.intents[held.payment.payment_id]["status"] == "canceled"
    assert await shop.left(event) == 3
    assert (await shop.confirm(held)).status == EXPIRED


async def test_a_payment_in_the_last_moment_completes_the_purchase(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.finish(held.payment.payment_id)
    clock.advance(timedelta(minutes=10))
    assert len((await has_status(shop, held, COMPLETED)).tickets) == 1
    assert await shop.left(event) == 2


async def test_places_are_released_only_after_the_withdrawal(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.fails["cancel"] = 500
    refused = await refusal(shop.release(held))
    assert (refused.code, refused.metadata) == (grpc.StatusCode.UNAVAILABLE, {"dependency": "payment provider"})
    assert ((await shop.read(held)).status, await shop.left(event)) == (HELD, 2)
    stripe.fails.clear()
    assert (await shop.release(held)).status == RELEASED
    assert stripe.intents[held.payment.payment_id]["status"] == "canceled"
    assert await shop.left(event) == 3


async def test_an_expired_hold_keeps_its_places_until_the_withdrawal(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.fails["cancel"] = 500
    clock.advance(timedelta(minutes=10))
    await until(lambda: "cancel" in stripe.calls)
    assert ((await shop.read(held)).status, await shop.left(event)) == (HELD, 2)
    stripe.fails.clear()
    clock.advance(CLAIM + timedelta(seconds=CLAIM_SPREAD_SECONDS))
    await has_status(shop, held, EXPIRED)
    assert await shop.left(event) == 3


@pytest.fixture
async def shop_without_stripe(make_settings, tickets_url: URL, clock, issuer: Issuer):
    """Run a second service on the same database without a key for Stripe."""
    app = App(make_settings(), tickets_url, clock)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await app.start()}") as channel:
        yield Shop(channel, issuer, clock())
    await app.stop()


async def test_a_hold_of_an_unconfigured_provider_does_not_change(shop, event, shop_without_stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    assert (await refusal(shop_without_stripe.confirm(held))).metadata == {"dependency": "payment provider"}
    assert (await refusal(shop_without_stripe.release(held))).metadata == {"dependency": "payment provider"}
    assert (await shop.read(held)).status == HELD


async def test_a_payment_processed_by_a_bank_is_not_released(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.intents[held.payment.payment_id]["status"] = "processing"
    refused = await refusal(shop.release(held))
    assert (refused.code, refused.retry_seconds) == (grpc.StatusCode.UNAVAILABLE, POLL_INTERVAL.total_seconds())
    stripe.capture(held.payment.payment_id)
    refused = await refusal(shop.release(held))
    assert (refused.reason, refused.metadata["from"]) == ("ILLEGAL_TRANSITION", "COMPLETED")
    assert len((await shop.read(held)).tickets) == 1


async def test_charges_processed_past_their_hold_delay_no_other_charge(shop, stripe, clock):
    event = await shop.on_sale(ticket_price=money(PRICE))
    buyers = [("user", f"user-{number}") for number in range(MAX_SWEEP)]
    late = [await shop.buy(event.event_id, buyer, payment_method_id=SECURE) for buyer in buyers]
    for purchase in late:
        stripe.intents[purchase.payment.payment_id]["status"] = "processing"
    clock.advance(timedelta(minutes=10))
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.finish(held.payment.payment_id)
    await until(lambda: stripe.calls.count("cancel") >= MAX_SWEEP)
    clock.advance(POLL_INTERVAL)
    await has_status(shop, held, COMPLETED)
    assert {(await shop.read(purchase, Shop.BACKEND)).status for purchase in late} == {HELD}
    for purchase in late:
        stripe.intents[purchase.payment.payment_id]["status"] = "succeeded"
    clock.advance(2 * MAX_POLL_INTERVAL)
    for purchase, buyer in zip(late, buyers, strict=True):
        await has_status(shop, purchase, COMPLETED, buyer)


@pytest.mark.parametrize("operation", ["create", "retrieve", "confirm"])
async def test_a_lost_answer_is_read_from_the_provider(shop, event, stripe, operation):
    stripe.loses[operation] = 1
    done = await shop.buy(event.event_id, payment_method_id=CARD)
    assert (done.status, len(done.tickets)) == (COMPLETED, 1)
    assert stripe.charged() == {done.purchase_id: PRICE}
    assert len(stripe.intents) == 1


@pytest.mark.parametrize("operation", ["create", "confirm"])
async def test_a_timeout_keeps_the_places_and_a_success_is_found(shop, event, stripe, clock, operation):
    stripe.loses[operation] = 2
    stripe.fails["retrieve"] = 500
    held = await shop.buy(event.event_id, payment_method_id=CARD)
    assert (held.status, await shop.left(event)) == (HELD, 2)
    assert (await refusal(shop.confirm(held))).metadata == {"dependency": "payment provider"}
    stripe.loses.clear()
    stripe.fails.clear()
    clock.advance(SWEEPER_DELAY)
    assert len((await has_status(shop, held, COMPLETED)).tickets) == 1
    assert stripe.charged() == {held.purchase_id: PRICE}


async def test_a_hanging_stripe_does_not_delay_other_purchases(shop, event, stripe):
    stripe.hangs.add("create")
    buying = asyncio.create_task(shop.buy(event.event_id, payment_method_id=CARD))
    await until(lambda: bool(stripe.calls))
    async with asyncio.timeout(15):
        assert (await shop.buy(event.event_id)).status == HELD
    assert not buying.done()
    stripe.release_calls()
    assert (await buying).status == COMPLETED


@pytest.mark.parametrize("call_seconds", [0.2])
async def test_a_hanging_stripe_is_tried_twice_before_the_answer(shop, event, stripe):
    stripe.hangs.add("create")
    assert (await shop.buy(event.event_id, payment_method_id=CARD)).status == HELD
    assert stripe.calls == ["create", "create"]


async def test_a_late_payment_is_honoured_while_places_are_left(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    clock.advance(timedelta(minutes=10))
    await has_status(shop, held, EXPIRED)
    # Stripe takes no money for a withdrawn charge; even then the money would not be lost.
    stripe.capture(held.payment.payment_id)
    done = await shop.confirm(held)
    assert (done.status, len(done.tickets)) == (COMPLETED, 1)
    assert await shop.left(event) == 2


async def test_a_late_payment_without_places_is_refunded_by_stripe(shop, event, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    clock.advance(timedelta(minutes=10))
    await has_status(shop, held, EXPIRED)
    await shop.buy(event.event_id, quantity=3)
    stripe.capture(held.payment.payment_id)
    await shop.confirm(held)
    refunded = await has_status(shop, held, REFUNDED)
    assert list(refunded.tickets) == []
    assert stripe.refunded() == {held.purchase_id: PRICE}


async def test_a_payment_of_a_cancelled_event_is_refunded(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    cancel = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(cancel, metadata=shop.metadata(Shop.OLGA))
    stripe.finish(held.payment.payment_id)
    await shop.confirm(held)
    await has_status(shop, held, REFUNDED)
    assert stripe.refunded() == stripe.charged() == {held.purchase_id: PRICE}


async def test_an_external_payment_withdraws_the_charge(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    done = await shop.report_payment(held, "pay-1")
    assert (done.status, done.payment.provider, done.payment.payment_id) == (COMPLETED, "external", "pay-1")
    assert stripe.intents[held.payment.payment_id]["status"] == "canceled"
    assert (stripe.charged(), await shop.left(event)) == ({}, 2)


async def test_no_other_buyer_gets_places_that_an_external_payment_pays(shop, event, monkeypatch):
    held = await shop.buy(event.event_id, quantity=3, payment_method_id=SECURE)
    confirm = Confirmations.confirm

    async def confirm_late(*arguments: Any) -> Any:
        # The charge is withdrawn, and the payment is not recorded yet.
        assert (await refusal(shop.buy(event.event_id, ("user", "bob")))).reason == "SOLD_OUT"
        return await confirm(*arguments)

    monkeypatch.setattr(Confirmations, "confirm", confirm_late)
    done = await shop.report_payment(held, "pay-1")
    assert (done.status, len(done.tickets)) == (COMPLETED, 3)


async def test_a_refused_external_payment_withdraws_no_charge(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    assert (await refusal(shop.report_payment(held, "pay-1", paid=PRICE - 1))).reason == "PRICE_CHANGED"
    await shop.report_payment(await shop.buy(event.event_id), "pay-2")
    assert (await refusal(shop.report_payment(held, "pay-2"))).reason == "PAYMENT_ALREADY_USED"
    assert "cancel" not in stripe.calls
    assert (await shop.read(held)).status == HELD


async def test_a_second_external_payment_is_to_be_refunded(shop, event, stripe, database):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    stripe.finish(held.payment.payment_id)
    done = await shop.report_payment(held, "pay-1")
    assert (done.status, done.payment.provider, len(done.tickets)) == (COMPLETED, "stripe", 1)
    request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
    sales = await shop.events.GetEventSales(request, metadata=shop.metadata(Shop.OLGA))
    assert sales.refunds_pending == 1
    kinds = sa.select(outbox.c.kind).where(outbox.c.purchase_id == held.purchase_id).order_by(outbox.c.position)
    answer = await database.run(lambda connection: list(connection.execute(kinds).scalars()))
    # The caller's own system has to refund its payment, although Stripe paid the purchase.
    assert answer == [Kind.PURCHASE_COMPLETED, Kind.REFUND_REQUESTED]


async def test_confirming_an_uncharged_purchase_changes_nothing(shop, event, stripe):
    held = await shop.buy(event.event_id)
    assert (await shop.confirm(held)).status == HELD
    assert (await shop.release(held)).status == RELEASED
    assert (await shop.confirm(held)).status == RELEASED
    assert stripe.calls == []


async def test_a_foreign_purchase_is_not_confirmed(shop, event, stripe):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    assert (await refusal(shop.confirm(held, ("user", "bob")))).reason == "PURCHASE_NOT_FOUND"


async def test_a_wrong_key_does_not_decline_a_payment(shop, event, stripe, clock):
    stripe.fails["create"] = 401
    held = await shop.buy(event.event_id, payment_method_id=CARD)
    assert held.status == HELD
    stripe.fails.clear()
    clock.advance(SWEEPER_DELAY)
    await has_status(shop, held, COMPLETED)


async def test_every_field_at_fault_is_named(shop, event):
    refused = await refusal(shop.buy(event.event_id, payment_method_id="x" * 256))
    assert refused.fields == {"payment_method_id"}


@pytest.fixture
async def shop_without_sweeps(make_settings, tickets_url: URL, clock, stripe: StripeStandIn, issuer: Issuer):
    """Run a service whose sweeper does not come to a purchase before the buyer does."""
    settings = make_settings(
        TICKETS_SWEEP_SECONDS="3600", TICKETS_STRIPE_KEY=KEY, TICKETS_STRIPE_API_BASE=stripe.api_base
    )
    async with (
        running(App(settings, tickets_url, clock)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Shop(channel, issuer, clock())


async def test_no_charge_is_created_after_the_end_of_the_hold(shop_without_sweeps, stripe, clock):
    event = await shop_without_sweeps.on_sale(ticket_price=money(PRICE))
    stripe.fails["create"] = 500
    held = await shop_without_sweeps.buy(event.event_id, payment_method_id=CARD)
    stripe.fails.clear()
    clock.advance(timedelta(minutes=10))
    assert (await shop_without_sweeps.confirm(held)).status == EXPIRED
    assert stripe.intents == {}
