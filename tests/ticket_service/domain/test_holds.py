from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.customers import CustomerBounds, Holdings
from ticket_service.domain.events import EventStatus, Offer, TicketType
from ticket_service.domain.holds import (
    Payment,
    apply_payment,
    apply_progress,
    complete_refund,
    expire,
    has_other_charge,
    release,
    reopen_refund,
)
from ticket_service.domain.payments import MAX_POLL_INTERVAL, POLL_INTERVAL, ChargeState, Progress
from ticket_service.domain.purchases import Item, Purchase, PurchaseStatus
from ticket_service.domain.sales import Inventory, SaleContext
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

EVENT = make_event(reserved=1)
HELD = Purchase(
    purchase_id=new_id(),
    event_id=EVENT.event_id,
    user_id="alice",
    items=(Item(TicketType.STANDARD, 1, 2_500),),
    currency="EUR",
    total=2_500,
    status=PurchaseStatus.HELD,
    provider="stripe",
    payment_id="pi_1",
    metadata={},
    create_time=NOW,
    complete_time=None,
    hold_expire_time=NOW,
    due_time=NOW,
)


@pytest.mark.parametrize("state", [ChargeState.CREATED, ChargeState.WAITING, ChargeState.WITHDRAWN])
def test_a_report_of_another_charge_changes_nothing(state: ChargeState) -> None:
    inventory = Inventory(EVENT)
    for reported in (None, "pi_2"):
        assert apply_progress(HELD, Progress(state, reported), inventory, NOW) is HELD
    assert inventory.reserved == 1


def test_a_purchase_with_a_charge_is_not_released_without_its_withdrawal() -> None:
    inventory = Inventory(EVENT)
    for withdrawn in (None, "pi_2"):
        assert has_other_charge(HELD, replace(HELD, payment_id=withdrawn))
    assert not has_other_charge(HELD, HELD)
    assert not has_other_charge(replace(HELD, payment_id=None), HELD)
    assert expire([HELD], inventory, NOW) == []
    assert inventory.reserved == 1


@pytest.mark.parametrize(
    "overdue", [timedelta(0), timedelta(seconds=1), timedelta(minutes=10), timedelta(days=1), timedelta(days=90)]
)
def test_a_charge_in_progress_is_looked_at_later_than_now(overdue: timedelta) -> None:
    now = NOW + overdue
    after = apply_progress(HELD, Progress(ChargeState.WAITING, "pi_1"), Inventory(EVENT), now)
    assert after.due_time is not None
    assert POLL_INTERVAL <= after.due_time - now <= MAX_POLL_INTERVAL * 1.25


def test_the_wait_after_the_hold_grows() -> None:
    def wait(overdue: timedelta) -> timedelta:
        now = NOW + overdue
        after = apply_progress(HELD, Progress(ChargeState.WAITING, "pi_1"), Inventory(EVENT), now)
        assert after.due_time is not None
        return after.due_time - now

    assert wait(timedelta(0)) < wait(timedelta(minutes=10)) < wait(timedelta(hours=2))
    assert wait(timedelta(hours=2)) == wait(timedelta(days=2))


PAYMENT = Payment("pi_9", ("EUR", 2_500), "stripe")
CONTEXT = SaleContext(max_per_purchase=20, new_id=new_id, now=NOW, hold=timedelta(minutes=10))
ENDED = [PurchaseStatus.EXPIRED, PurchaseStatus.RELEASED, PurchaseStatus.DECLINED]


def ended(status: PurchaseStatus) -> Purchase:
    return replace(HELD, status=status, complete_time=NOW)


def test_a_payment_of_a_hold_issues_its_tickets() -> None:
    inventory = Inventory(EVENT)
    charged = replace(HELD, payment_method="pm_1", client_secret="secret")
    result = apply_payment(charged, PAYMENT, inventory, CONTEXT)
    paid = result.purchase
    assert (paid.status, paid.complete_time, paid.due_time) == (PurchaseStatus.COMPLETED, NOW, None)
    assert (paid.payment_id, paid.payment_method, paid.client_secret) == ("pi_9", None, None)
    assert (len(result.tickets), result.refund_due, inventory.reserved) == (1, False, 1)


@pytest.mark.parametrize("paid", [("EUR", 2_499), ("CHF", 2_500)])
def test_a_payment_of_another_amount_changes_nothing(paid: tuple[str, int]) -> None:
    with pytest.raises(Failure) as refused:
        apply_payment(HELD, replace(PAYMENT, paid=paid), Inventory(EVENT), CONTEXT)
    assert refused.value.reason == "PRICE_CHANGED"


@pytest.mark.parametrize("status", [PurchaseStatus.COMPLETED, PurchaseStatus.REFUNDING])
def test_a_second_payment_is_refunded_beside_the_first(status: PurchaseStatus) -> None:
    purchase, inventory = ended(status), Inventory(EVENT)
    result = apply_payment(purchase, PAYMENT, inventory, CONTEXT)
    assert (result.purchase, result.tickets, result.refund_due) == (purchase, (), True)
    assert inventory.reserved == 1


def test_a_payment_of_a_refunded_purchase_is_refunded_too() -> None:
    purchase = ended(PurchaseStatus.REFUNDED)
    result = apply_payment(purchase, PAYMENT, Inventory(EVENT), CONTEXT)
    assert result.purchase == replace(purchase, status=PurchaseStatus.REFUNDING)
    assert (result.tickets, result.refund_due) == ((), True)


@pytest.mark.parametrize("status", ENDED)
def test_a_late_payment_buys_the_places_that_are_left(status: PurchaseStatus) -> None:
    inventory = Inventory(replace(EVENT, max_participants=2))
    result = apply_payment(replace(ended(status), provider="external"), PAYMENT, inventory, CONTEXT)
    assert (result.purchase.status, len(result.tickets)) == (PurchaseStatus.COMPLETED, 1)
    assert (result.purchase.provider, result.purchase.payment_id) == ("stripe", "pi_9")
    assert inventory.reserved == 2


@pytest.mark.parametrize("status", ENDED)
def test_a_late_payment_without_places_is_refunded(status: PurchaseStatus) -> None:
    inventory = Inventory(replace(EVENT, max_participants=1))
    result = apply_payment(ended(status), PAYMENT, inventory, CONTEXT)
    assert (result.purchase.status, result.purchase.payment_id) == (PurchaseStatus.REFUNDING, "pi_9")
    assert (result.tickets, result.refund_due, inventory.reserved) == ((), True, 1)


def test_a_late_payment_keeps_the_bounds_of_its_customer() -> None:
    context = replace(CONTEXT, customers=CustomerBounds(0, 2, 0, timedelta()))

    def status(tickets: int) -> PurchaseStatus:
        holdings = Holdings(tickets={TicketType.STANDARD: tickets})
        late = apply_payment(ended(PurchaseStatus.EXPIRED), PAYMENT, Inventory(EVENT), context, holdings)
        return late.purchase.status

    assert (status(1), status(2)) == (PurchaseStatus.COMPLETED, PurchaseStatus.REFUNDING)
    # The places of a hold were bounded when it was made.
    full = Holdings(tickets={TicketType.STANDARD: 2})
    held = apply_payment(HELD, PAYMENT, Inventory(EVENT), context, full)
    assert held.purchase.status is PurchaseStatus.COMPLETED


@pytest.mark.parametrize(
    "changes",
    [
        {"status": EventStatus.CANCELLED},
        {"end_time": NOW},
        {"currency": "CHF"},
    ],
)
def test_a_payment_of_an_event_that_sells_no_more_is_refunded(changes: dict[str, Any]) -> None:
    inventory = Inventory(replace(EVENT, **changes))
    result = apply_payment(HELD, PAYMENT, inventory, CONTEXT)
    assert (result.purchase.status, result.refund_due) == (PurchaseStatus.REFUNDING, True)
    # The places of the hold return to sale.
    assert (result.tickets, inventory.reserved) == ((), 0)
    late = Inventory(replace(EVENT, **changes))
    assert apply_payment(ended(PurchaseStatus.EXPIRED), PAYMENT, late, CONTEXT).refund_due
    assert late.reserved == 1


def test_a_released_hold_returns_its_places_once() -> None:
    inventory = Inventory(replace(EVENT, offers=(Offer(TicketType.STANDARD, 2_500, reserved=1),)))
    released = release(HELD, inventory, NOW)
    assert (released.status, released.complete_time, released.due_time) == (PurchaseStatus.RELEASED, NOW, None)
    assert (released.provider, released.payment_id) == ("stripe", "pi_1")
    assert release(released, inventory, NOW) is released
    assert (inventory.reserved, inventory.offers_reserved) == (0, {TicketType.STANDARD: 0})


@pytest.mark.parametrize("status", ENDED)
def test_the_release_of_an_ended_hold_changes_nothing(status: PurchaseStatus) -> None:
    purchase, inventory = ended(status), Inventory(EVENT)
    assert release(purchase, inventory, NOW) is purchase
    assert inventory.reserved == 1


@pytest.mark.parametrize("status", [PurchaseStatus.COMPLETED, PurchaseStatus.REFUNDING, PurchaseStatus.REFUNDED])
def test_a_paid_purchase_is_not_released(status: PurchaseStatus) -> None:
    with pytest.raises(Failure) as refused:
        release(ended(status), Inventory(EVENT), NOW)
    assert refused.value.reason == "ILLEGAL_TRANSITION"


def test_holds_without_a_charge_expire_with_their_places() -> None:
    free = replace(HELD, purchase_id=new_id(), provider="external", payment_id=None)
    inventory = Inventory(replace(EVENT, reserved=4))
    others = [HELD, replace(HELD, payment_id=None), replace(HELD, provider="external", payment_id="p")]
    [expired] = expire([*others, free], inventory, NOW)
    assert (expired.status, expired.purchase_id, inventory.reserved) == (PurchaseStatus.EXPIRED, free.purchase_id, 3)


@pytest.mark.parametrize(
    ("code", "overdue", "status"),
    [
        (None, timedelta(microseconds=-1), PurchaseStatus.RELEASED),
        (None, timedelta(), PurchaseStatus.EXPIRED),
        ("card_declined", timedelta(), PurchaseStatus.DECLINED),
    ],
)
def test_a_withdrawn_charge_ends_its_purchase(code: str | None, overdue: timedelta, status: PurchaseStatus) -> None:
    inventory = Inventory(EVENT)
    withdrawn = Progress(ChargeState.WITHDRAWN, "pi_1", decline_code=code)
    ended_now = apply_progress(HELD, withdrawn, inventory, NOW + overdue)
    assert (ended_now.status, ended_now.decline_code, inventory.reserved) == (status, code, 0)


def test_the_charge_of_a_lasting_hold_is_asked_about_until_its_end() -> None:
    def due(remaining: timedelta, state: ChargeState = ChargeState.WAITING) -> Any:
        held = replace(HELD, hold_expire_time=NOW + remaining, due_time=NOW + timedelta(seconds=1))
        after = apply_progress(held, Progress(state, "pi_1", "secret"), Inventory(EVENT), NOW)
        assert (after.status, after.client_secret) == (PurchaseStatus.HELD, "secret")
        return after.due_time

    assert due(timedelta(hours=1)) == NOW + POLL_INTERVAL
    assert due(timedelta(seconds=3)) == NOW + timedelta(seconds=3)
    # A charge that nobody has confirmed is due as before.
    assert due(timedelta(hours=1), ChargeState.CREATED) == NOW + timedelta(seconds=1)


def test_the_wait_is_a_quarter_of_the_overdue_time_and_a_jitter() -> None:
    def wait(number: int) -> Any:
        overdue = replace(HELD, purchase_id=type(HELD.purchase_id)(int=number))
        now = NOW + timedelta(minutes=8)
        after = apply_progress(overdue, Progress(ChargeState.WAITING, "pi_1"), Inventory(EVENT), now)
        assert after.due_time is not None
        return after.due_time - now

    assert wait(0) == wait(256) == timedelta(minutes=2)
    assert wait(128) == timedelta(minutes=2) * 1.125


def test_a_purchase_is_refunded_and_open_again_after_a_failed_refund() -> None:
    refunding = ended(PurchaseStatus.REFUNDING)
    refunded = complete_refund(refunding)
    assert refunded.status is PurchaseStatus.REFUNDED
    assert reopen_refund(refunded) == refunding
    assert reopen_refund(refunding) is refunding
