"""Test how the adapter takes each documented error of Stripe, with the stand-in: localstripe has no such errors."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tests.stand_ins.stripe import CARD, DECLINED, KEY, PROCESSING, UNKNOWN, StripeStandIn
from ticket_service.adapters.stripe import payments
from ticket_service.adapters.stripe.payments import StripePayments
from ticket_service.domain.payments import Charge, ChargeState, RefundState
from ticket_service.domain.refund_orders import RefundOrder
from ticketing.chassis.failures import Failure

NOW = datetime(2030, 5, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the timeout, because the test machine may be busy."""
    monkeypatch.setattr(payments, "CALL_SECONDS", 20.0)


@pytest.fixture
async def adapter(stripe: StripeStandIn) -> AsyncIterator[StripePayments]:
    adapter = StripePayments(KEY, stripe.api_base)
    yield adapter
    await adapter.close()


def charge(method: str = CARD, amount: int = 2_500, currency: str = "EUR") -> Charge:
    return Charge(uuid.uuid4(), uuid.uuid4(), currency, amount, method, None)


def order(one: Charge, amount: int = 1_000) -> RefundOrder:
    return RefundOrder(
        event_id=one.event_id,
        order_id=uuid.uuid4(),
        purchase_id=one.purchase_id,
        cancellation_id=None,
        provider="stripe",
        payment_id=one.payment_id or "",
        currency=one.currency,
        amount=amount,
        create_time=NOW,
        due_time=NOW,
    )


async def created(adapter: StripePayments, one: Charge) -> Charge:
    return replace(one, payment_id=(await adapter.advance(one)).payment_id)


async def paid(adapter: StripePayments, one: Charge) -> Charge:
    one = await created(adapter, one)
    assert (await adapter.advance(one)).state is ChargeState.PAID
    return one


Call = Callable[[StripePayments, Charge], Awaitable[object]]
# Each operation of the API, and a call of the adapter that needs it, on a charge that is created.
CALLS: dict[str, Call] = {
    "create": lambda adapter, one: adapter.advance(replace(one, purchase_id=uuid.uuid4(), payment_id=None)),
    "retrieve": lambda adapter, one: adapter.advance(one),
    "confirm": lambda adapter, one: adapter.advance(one),
    "cancel": lambda adapter, one: adapter.withdraw(one),
    "refund": lambda adapter, one: adapter.refund(order(one)),
}


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 502, 503])
@pytest.mark.parametrize("operation", CALLS)
async def test_an_answer_that_decides_nothing_is_dependency_unavailable(adapter, stripe, operation, status):
    one = await created(adapter, charge())
    stripe.fails[operation] = status
    with pytest.raises(Failure) as unknown:
        await CALLS[operation](adapter, one)
    assert (unknown.value.reason, unknown.value.metadata) == (
        "DEPENDENCY_UNAVAILABLE",
        {"dependency": "payment provider"},
    )
    assert stripe.calls[-1] == operation


@pytest.mark.parametrize("status", [401, 403])
async def test_an_invalid_key_is_logged_as_an_error(adapter, stripe, status, caplog):
    stripe.fails["create"] = status
    with pytest.raises(Failure):
        await adapter.advance(charge())
    assert [record.levelname for record in caplog.records if record.name == payments.__name__] == ["ERROR"]


async def test_a_limited_rate_pauses_all_calls(adapter, stripe, monkeypatch):
    now = 1_000.0
    # The event loop keeps its own clock.
    monkeypatch.setattr(payments, "time", SimpleNamespace(monotonic=lambda: now))
    one = await created(adapter, charge())
    stripe.fails["confirm"], stripe.retry_after = 429, "7"
    with pytest.raises(Failure) as limited:
        await adapter.advance(one)
    assert limited.value.retry_after is not None
    assert 7 <= limited.value.retry_after.total_seconds() <= 10.5
    stripe.fails.clear()
    calls = len(stripe.calls)
    with pytest.raises(Failure) as paused:
        await adapter.advance(one)
    assert (paused.value.reason, len(stripe.calls)) == ("DEPENDENCY_UNAVAILABLE", calls)
    now += 10.6
    assert (await adapter.advance(one)).state is ChargeState.PAID


@pytest.mark.parametrize(("named", "longest"), [("3600", 90), ("", 1.5), ("soon", 1.5)])
async def test_a_pause_is_bounded(adapter, stripe, named, longest):
    stripe.fails["create"], stripe.retry_after = 429, named
    with pytest.raises(Failure) as limited:
        await adapter.advance(charge())
    assert limited.value.retry_after is not None
    assert 1 <= limited.value.retry_after.total_seconds() <= longest


async def test_a_locked_object_delays_no_other_charge(adapter, stripe):
    one, other = [await created(adapter, charge()) for _ in range(2)]
    stripe.fails["cancel"], stripe.limit_code = 429, "lock_timeout"
    with pytest.raises(Failure):
        await adapter.withdraw(one)
    assert (await adapter.advance(other)).state is ChargeState.PAID


async def test_a_fault_that_stripe_has_saved_is_repeated_until_its_key_ends(adapter, stripe):
    one = await paid(adapter, charge())
    wanted = order(one)
    stripe.breaks["refund"] = 500
    for _ in range(2):
        with pytest.raises(Failure):
            await adapter.refund(wanted)
        stripe.breaks.clear()
    # A refund is a day late rather than made twice: it is unknown how far the first call came.
    stripe.forget_keys()
    assert (await adapter.refund(wanted)).state is RefundState.MADE
    assert stripe.refunded() == {str(one.purchase_id): 1_000}


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (charge(UNKNOWN), "resource_missing"),
        (charge(amount=49), "amount_too_small"),
        (charge(currency="IQD"), "invalid_request"),
        (charge(currency="KWD", amount=5_255), "invalid_amount"),
    ],
)
async def test_a_refused_charge_is_declined(adapter, one, code):
    declined = await adapter.advance(one)
    assert (declined.state, declined.payment_id, declined.decline_code) == (ChargeState.DECLINED, None, code)


async def test_a_declined_card_has_its_own_code(adapter):
    declined = await adapter.advance(await created(adapter, charge(DECLINED)))
    assert (declined.state, declined.decline_code) == (ChargeState.DECLINED, "insufficient_funds")


def acting_on(stripe: StripeStandIn, operation: str, one: Charge) -> Callable[[str], None]:
    """Return a hook that captures a charge when a call arrives."""

    def act(call: str) -> None:
        if call == operation:
            stripe.capture(one.payment_id or "")

    return act


async def test_a_charge_that_changed_meanwhile_is_read_again(adapter, stripe):
    confirmed, withdrawn = [await created(adapter, charge()) for _ in range(2)]
    # Another process acts between the look and the call.
    stripe.on_arrival = acting_on(stripe, "confirm", confirmed)
    assert (await adapter.advance(confirmed)).state is ChargeState.PAID
    stripe.on_arrival = acting_on(stripe, "cancel", withdrawn)
    assert (await adapter.withdraw(withdrawn)).state is ChargeState.PAID


async def test_a_charge_under_way_at_a_bank_is_not_withdrawn(adapter):
    one = await created(adapter, charge(PROCESSING))
    assert (await adapter.advance(one)).state is ChargeState.WAITING
    assert (await adapter.withdraw(one)).state is ChargeState.WAITING


async def test_a_refused_refund_has_the_reason_of_stripe(adapter, stripe):
    one = await paid(adapter, charge())
    too_much = await adapter.refund(order(one, 2_600))
    assert (too_much.state, too_much.failure) == (
        RefundState.REFUSED,
        "Refund amount (2600) is greater than unrefunded amount on charge (2500)",
    )
    stripe.dispute(one.payment_id)
    disputed = await adapter.refund(order(one))
    assert disputed.failure == "The charge has been charged back; cannot issue a refund."
    assert stripe.refunded() == {}
