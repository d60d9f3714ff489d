"""Test the adapter against localstripe: our own stand-in may repeat our misunderstandings of Stripe."""

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from dev.clients import free_ports
from ticket_service.adapters.stripe.payments import MAX_WAITING, THREADS, StripePayments
from ticket_service.domain.payments import Charge, ChargeState, Progress, RefundState
from ticket_service.domain.refund_orders import RefundOrder
from ticketing.chassis.failures import Failure

pytestmark = pytest.mark.slow

KEY = "sk_test_12345"
# Test cards of Stripe: valid, declined when charged, confirmed by the bank first.
CARD, DECLINED, SECURE = "4242424242424242", "4000000000000341", "4000002500003155"


@pytest.fixture(scope="module")
def localstripe() -> Iterator[str]:
    """Run localstripe; return the URL of its API."""
    [port] = free_ports(1)
    command = [sys.executable, "-u", "-m", "localstripe", "--from-scratch", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if "Running on" in line:
                break
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        lines.read()


@pytest.fixture
async def stripe(localstripe: str) -> AsyncIterator[StripePayments]:
    stripe = StripePayments(KEY, localstripe)
    yield stripe
    await stripe.close()


@pytest.fixture
def method_of(localstripe: str) -> Callable[[str], str]:
    """Create payment methods of cards, as the front end of a shop does."""

    def make(number: str) -> str:
        form = {"type": "card", "card[exp_month]": "12", "card[exp_year]": "2040", "card[cvc]": "123"}
        url = f"{localstripe}/v1/payment_methods"
        return requests.post(url, {**form, "card[number]": number}, auth=(KEY, ""), timeout=5).json()["id"]

    return make


@pytest.fixture
def confirm_at_the_bank(localstripe: str) -> Callable[..., None]:
    """Confirm or reject a charge as a buyer does."""

    def go(waiting: Progress, *, succeeds: bool) -> None:
        done = {"client_secret": waiting.client_secret, "success": str(succeeds).lower(), "key": "pk_test_1"}
        url = f"{localstripe}/v1/payment_intents/{waiting.payment_id}/_authenticate"
        requests.post(url, done, auth=(KEY, ""), timeout=5).raise_for_status()

    return go


def charge(payment_method: str = "pm_card_visa") -> Charge:
    return Charge(uuid.uuid4(), uuid.uuid4(), "EUR", 2_500, payment_method, None)


async def confirmed(stripe: StripePayments, one: Charge) -> tuple[Charge, Progress]:
    created = await stripe.advance(one)
    assert created.state is ChargeState.CREATED
    one = replace(one, payment_id=created.payment_id)
    return one, await stripe.advance(one)


def order(one: Charge, amount: int, **changes: Any) -> RefundOrder:
    now = datetime.now(UTC)
    usual = RefundOrder(
        event_id=one.event_id,
        order_id=uuid.uuid4(),
        purchase_id=one.purchase_id,
        cancellation_id=None,
        provider="stripe",
        payment_id=one.payment_id or "",
        currency="EUR",
        amount=amount,
        create_time=now,
        due_time=now,
    )
    return replace(usual, **changes)


async def test_valid_card_is_charged_and_refunded_in_parts(stripe, method_of):
    one, paid = await confirmed(stripe, charge(method_of(CARD)))
    assert (paid.state, paid.payment_id, paid.client_secret) == (ChargeState.PAID, one.payment_id, None)
    assert await stripe.advance(one) == paid
    assert await stripe.withdraw(one) == paid
    first, second = order(one, 1_000), order(one, 1_500)
    made = await stripe.refund(first)
    assert made.state is RefundState.MADE
    assert (await stripe.refund(second)).refund_id != made.refund_id
    listed = await stripe.list_refunds(paid.payment_id)
    assert {one.order_id: (one.amount, one.state) for one in listed} == {
        str(first.order_id): (1_000, RefundState.MADE),
        str(second.order_id): (1_500, RefundState.MADE),
    }


async def test_declined_card_has_a_decline_code_and_is_withdrawn(stripe, method_of):
    one, declined = await confirmed(stripe, charge(method_of(DECLINED)))
    assert (declined.state, declined.decline_code) == (ChargeState.DECLINED, "card_declined")
    withdrawn = await stripe.withdraw(one)
    assert (withdrawn.state, withdrawn.decline_code) == (ChargeState.WITHDRAWN, "card_declined")
    assert (await stripe.advance(one)).state is ChargeState.WITHDRAWN
    assert (await stripe.refund(order(one, 1_000))).state is RefundState.REFUSED


async def test_unknown_payment_method_is_declined(stripe):
    declined = await stripe.advance(charge("pm_none"))
    assert (declined.state, declined.payment_id) == (ChargeState.DECLINED, None)


@pytest.mark.parametrize("succeeds", [True, False])
async def test_charge_waits_for_the_confirmation_of_the_bank(stripe, method_of, confirm_at_the_bank, succeeds):
    one, waiting = await confirmed(stripe, charge(method_of(SECURE)))
    assert waiting.state is ChargeState.WAITING
    assert waiting.client_secret
    confirm_at_the_bank(waiting, succeeds=succeeds)
    after = await stripe.advance(one)
    assert after.state is (ChargeState.PAID if succeeds else ChargeState.DECLINED)
    assert after.decline_code == (None if succeeds else "payment_intent_authentication_failure")


async def test_withdrawn_charge_is_never_paid(stripe):
    created = await stripe.advance(one := charge())
    one = replace(one, payment_id=created.payment_id)
    assert (await stripe.withdraw(one)).state is ChargeState.WITHDRAWN
    assert (await stripe.advance(one)).state is ChargeState.WITHDRAWN
    assert (await stripe.withdraw(charge())).state is ChargeState.WITHDRAWN


async def test_calls_beyond_the_queue_are_overloaded(stripe, monkeypatch):
    monkeypatch.setattr(stripe, "_under_way", THREADS + MAX_WAITING)
    with pytest.raises(Failure) as refused:
        await stripe.advance(charge())
    assert refused.value.reason == "OVERLOADED"
    monkeypatch.setattr(stripe, "_under_way", 0)


async def test_unreachable_stripe_is_dependency_unavailable():
    [port] = free_ports(1)
    stripe = StripePayments(KEY, f"http://127.0.0.1:{port}")
    with pytest.raises(Failure) as refused:
        await stripe.advance(charge())
    assert refused.value.metadata == {"dependency": "payment provider"}
    await stripe.close()
