"""Test the stand-in with Stripe's own library: what the library cannot read, Stripe does not send."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
import stripe as library

from tests.environment.clock import SettableClock
from tests.stand_ins.stripe import CARD, DECLINED, KEY, PROCESSING, SECURE, SIGNING_SECRET, StripeStandIn, signed
from ticket_service.adapters.stripe.payments import new_client

START = datetime(2030, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(START)


@pytest.fixture
def api(stripe: StripeStandIn) -> Iterator[Any]:
    """Make a client of the library, without retries."""
    with requests.Session() as session:
        yield new_client(KEY, stripe.api_base, session, retries=0).v1


def create(api: Any, amount: int = 2_500, currency: str = "eur", method: str = CARD, key: str | None = None) -> Any:
    params = {
        "amount": amount,
        "currency": currency,
        "payment_method": method,
        "payment_method_types": ["card"],
        "metadata": {"purchase_id": "p1"},
    }
    return api.payment_intents.create(params, {"idempotency_key": key} if key else {})


def pay(api: Any, amount: int = 2_500, currency: str = "eur", method: str = CARD) -> Any:
    return api.payment_intents.confirm(create(api, amount, currency, method).id)


def refund(api: Any, payment_id: str, amount: int, key: str | None = None) -> Any:
    params = {"payment_intent": payment_id, "amount": amount, "metadata": {"order_id": "o1"}}
    return api.refunds.create(params, {"idempotency_key": key} if key else {})


def refused(call: Any, *arguments: Any) -> library.StripeError:
    with pytest.raises(library.StripeError) as error:
        call(*arguments)
    return error.value


def test_figures_are_counted_by_purchase(stripe, api):
    paid = pay(api)
    refund(api, paid.id, 1_000)
    stripe.refund_in_dashboard(paid.id, 500)
    assert (stripe.charged(), stripe.refunded(), stripe.refundable(paid.id)) == ({"p1": 2_500}, {"p1": 1_500}, 1_000)
    [charge] = api.charges.list({"payment_intent": paid.id}).data
    assert (charge.id, charge.amount_refunded, charge.refunded) == (paid.latest_charge, 1_500, False)
    stripe.refund_in_dashboard(paid.id)
    assert api.charges.retrieve(charge.id).refunded
    assert refused(refund, api, paid.id, 1).code == "charge_already_refunded"


@pytest.mark.parametrize(
    ("currency", "amount", "is_charged"),
    [
        ("isk", 590_000, True),
        ("isk", 5_950, False),
        ("ugx", 38_000_00, True),
        ("ugx", 38_001, False),
        ("kwd", 5_250, True),
        ("kwd", 5_255, False),
        ("jpy", 50, True),
        ("jpy", 49, False),
        ("mga", 5_001, True),
        ("eur", 49, False),
        ("eur", 999_999_999_999, True),
        ("eur", 1_000_000_000_000, False),
        ("iqd", 5_000, False),
        ("xyz", 5_000, False),
    ],
)
def test_amounts_follow_the_published_rules(api, currency, amount, is_charged):
    if is_charged:
        assert create(api, amount, currency).amount == amount
    else:
        assert isinstance(refused(create, api, amount, currency), library.InvalidRequestError)


def test_refunds_follow_the_published_rules(api):
    paid = pay(api, 5_250, "kwd")
    assert refused(refund, api, paid.id, 2_625).http_status == 400
    assert refund(api, paid.id, 2_630).status == "succeeded"


def test_an_answer_of_any_status_is_repeated_for_a_day(stripe, api, clock):
    first = create(api, key="k1")
    assert create(api, key="k1").id == first.id
    changed = refused(create, api, 2_600, "eur", CARD, "k1")
    assert isinstance(changed, library.IdempotencyError)
    stripe.breaks["refund"] = 500
    paid = pay(api)
    assert refused(refund, api, paid.id, 100, "k2").http_status == 500
    stripe.breaks.clear()
    assert (refused(refund, api, paid.id, 100, "k2").headers or {})["Idempotent-Replayed"] == "true"
    clock.advance(timedelta(hours=24))
    assert refund(api, paid.id, 100, "k2").amount == 100
    assert create(api, key="k1").id != first.id


def test_a_refused_parameter_and_a_fault_before_the_execution_are_not_saved(stripe, api):
    assert refused(create, api, 1, "eur", CARD, "k1").code == "amount_too_small"
    assert create(api, key="k1").amount == 2_500
    stripe.fails["create"] = 429
    assert isinstance(refused(create, api, 2_500, "eur", CARD, "k2"), library.RateLimitError)
    stripe.fails.clear()
    assert create(api, key="k2").amount == 2_500


def test_a_refund_succeeds_and_fails_later(stripe, api):
    stripe.refund_status = "pending"
    paid = pay(api)
    made = refund(api, paid.id, 2_500)
    assert (made.status, stripe.refunded(), stripe.refundable(paid.id)) == ("pending", {}, 0)
    stripe.settle_refund(made.id, "succeeded")
    assert stripe.refunded() == {"p1": 2_500}
    stripe.settle_refund(made.id, "failed", "lost_or_stolen_card")
    now = api.refunds.retrieve(made.id)
    assert (now.status, now.failure_reason, stripe.refunded()) == ("failed", "lost_or_stolen_card", {})
    assert stripe.refundable(paid.id) == 2_500


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_takes_the_charge_back(stripe, api, won):
    paid = pay(api)
    dispute = stripe.dispute(paid.id)
    assert refused(refund, api, paid.id, 100).code == "charge_disputed"
    assert api.charges.retrieve(paid.latest_charge).disputed
    stripe.close_dispute(dispute["id"], won=won)
    [listed] = api.disputes.list({"charge": paid.latest_charge}).data
    assert (listed.id, listed.payment_intent, listed.status) == (dispute["id"], paid.id, "won" if won else "lost")
    assert stripe.disputed() == ({} if won else {"p1": 2_500})


@pytest.mark.parametrize("method", [SECURE, PROCESSING])
def test_a_bank_accepts_or_declines_later(stripe, api, method):
    accepted, declined = (pay(api, method=method) for _ in range(2))
    assert accepted.status == ("requires_action" if method == SECURE else "processing")
    stripe.finish(accepted.id)
    stripe.finish(declined.id, succeeds=False)
    assert api.payment_intents.retrieve(accepted.id).status == "succeeded"
    assert api.payment_intents.retrieve(declined.id).status == "requires_payment_method"


def test_a_charge_is_captured_behind_our_back(stripe, api):
    created = create(api)
    api.payment_intents.cancel(created.id)
    stripe.capture(created.id)
    now = api.payment_intents.retrieve(created.id)
    assert (now.status, now.amount_received, stripe.charged()) == ("succeeded", 2_500, {"p1": 2_500})
    assert refused(api.payment_intents.cancel, created.id).code == "payment_intent_unexpected_state"
    foreign = stripe.new_intent(700, "eur", CARD, {})
    stripe.capture(foreign["id"])
    assert stripe.charged()[foreign["id"]] == 700


def test_a_declined_card_has_a_failed_charge(api):
    created = create(api, method=DECLINED)
    assert isinstance(refused(api.payment_intents.confirm, created.id), library.CardError)
    [charge] = api.charges.list({"payment_intent": created.id}).data
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", "card_declined", False)


def test_lists_are_read_in_pages_and_by_time(stripe, api, clock):
    times = []
    for _ in range(5):
        paid = pay(api)
        stripe.refund_in_dashboard(paid.id, 100)
        times.append((int(clock().timestamp()), paid.id))
        clock.advance(timedelta(minutes=1))
    for listing, ids in (
        (api.payment_intents, [payment_id for _, payment_id in times]),
        (api.charges, ["ch_" + payment_id[3:] for _, payment_id in times]),
        (api.refunds, [refund["id"] for refund in stripe.refunds]),
    ):
        newest_first = ids[::-1]
        assert [one.id for one in listing.list({"limit": 2}).auto_paging_iter()] == newest_first
        last_three = {"created": {"gte": times[2][0]}, "limit": 1}
        assert [one.id for one in listing.list(last_three).auto_paging_iter()] == newest_first[:3]
        second = {"created": {"gt": times[0][0], "lt": times[2][0]}}
        assert [one.id for one in listing.list(second).data] == [ids[1]]
        assert [one.id for one in listing.list({"starting_after": ids[1]}).data] == [ids[0]]
    assert refused(api.refunds.list, {"order": "o1"}).code == "parameter_unknown"


def test_events_are_listed_and_verified_by_their_signature(stripe, api, clock):
    paid = pay(api)
    stripe.dispute(paid.id)
    types = ["charge.succeeded", "charge.dispute.created"]
    listed = api.events.list({"types": types}).data
    assert [event.type for event in listed] == types[::-1]
    assert listed[0].data.object.payment_intent == paid.id
    body, headers = signed(stripe.events_of("charge.dispute.created")[0], datetime.now(UTC))
    event = library.Webhook.construct_event(body, headers["Stripe-Signature"], SIGNING_SECRET)
    assert event.id == listed[0].id
    with pytest.raises(library.SignatureVerificationError):
        library.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_other")
    clock.advance(timedelta(days=31))
    assert api.events.list().data == []


def test_webhooks_are_delivered_out_of_order_and_repeatedly(stripe, api):
    received: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body)["type"])
            self.send_response(500 if len(received) == 1 else 200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        pay(api)
        created, succeeded = stripe.events_of("payment_intent.created", "payment_intent.succeeded")
        url = f"http://127.0.0.1:{server.server_port}/"
        assert stripe.deliver(url, succeeded, created, succeeded) == [500, 200, 200]
        server.shutdown()
        thread.join()
    assert received == ["payment_intent.succeeded", "payment_intent.created", "payment_intent.succeeded"]
