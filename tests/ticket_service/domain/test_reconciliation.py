"""Tests of the comparison of a provider's records with those recorded here."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.disputes import Dispute, DisputeStatus
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.payments import RefundState
from ticket_service.domain.reconciliation import (
    CHECKS,
    OwnRecords,
    ProviderCharge,
    ProviderDispute,
    ProviderRecords,
    ProviderRefund,
    RecordedCharge,
    find_missing_charges,
    find_missing_refunds,
    find_repeated_refunds,
    find_unmatched_charges,
    find_unrecorded_charges,
    find_unrecorded_disputes,
    find_unrecorded_refunds,
    refunded_here,
    sums,
)
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus

EVENT, PURCHASE, ORDER_ID, READ = UUID(int=1), UUID(int=2), UUID(int=3), NOW + timedelta(hours=1)
CHARGE = ProviderCharge("pi_1", str(PURCHASE), "EUR", 100)
RECORDED = RecordedCharge("pi_1", PURCHASE, "EUR", 100, NOW)
REFUND = ProviderRefund("re_1", str(ORDER_ID), "EUR", 40, RefundState.MADE, "pi_1", 1)
PENDING, DONE, FAILED = RefundOrderStatus
ORDER = RefundOrder(
    event_id=EVENT,
    order_id=ORDER_ID,
    purchase_id=PURCHASE,
    cancellation_id=UUID(int=4),
    provider="stripe",
    payment_id="pi_1",
    currency="EUR",
    amount=40,
    create_time=NOW,
    due_time=None,
    status=DONE,
    refund_id="re_1",
    complete_time=NOW,
)
OUTSIDE = OutsideRefund(EVENT, "stripe", "re_2", PURCHASE, "pi_1", OutsideRefundKind.REFUND, "EUR", 25, NOW)
BY_HAND = ProviderRefund("re_2", "", "EUR", 25, RefundState.MADE, "pi_1")
DISPUTE = ProviderDispute("dp_1", "pi_1", "EUR", 100, DisputeStatus.OPEN, "fraudulent")
OWN_DISPUTE = Dispute(
    event_id=EVENT,
    dispute_id=UUID(int=5),
    provider="stripe",
    provider_id="dp_1",
    purchase_id=PURCHASE,
    payment_id="pi_1",
    currency="EUR",
    amount=100,
    status=DisputeStatus.OPEN,
    reason="fraudulent",
    create_time=NOW,
    update_time=NOW,
)


def there(
    charges: Iterable[ProviderCharge] = (), refunds: Iterable[ProviderRefund] = (), **more: Any
) -> ProviderRecords:
    return ProviderRecords(READ, tuple(charges), tuple(refunds), **more)


def here(charges: Iterable[RecordedCharge] = (), orders: Iterable[RefundOrder] = (), **more: Any) -> OwnRecords:
    return OwnRecords(tuple(charges), tuple(orders), more.pop("held", frozenset()), **more)


UNMATCHED: dict[str, Any] = {"unmatched": frozenset({"pi_1"})}


def test_equal_records_have_no_fault():
    provider = there([CHARGE], [REFUND, BY_HAND], disputes=(DISPUTE,))
    own = here([RECORDED], [ORDER], outside_refunds=(OUTSIDE,), disputes=(OWN_DISPUTE,))
    assert {name: list(check(provider, own)) for name, check in CHECKS.items()} == {name: [] for name in CHECKS}


@pytest.mark.parametrize(
    ("charge", "own", "found"),
    [
        (CHARGE, here(), 1),
        (replace(CHARGE, amount=99), here([RECORDED]), 1),
        (replace(CHARGE, currency="CHF"), here([RECORDED]), 1),
        (replace(CHARGE, purchase_id=str(EVENT)), here([RECORDED]), 1),
        # The payment of a hold may be recorded soon, and that of no purchase is an unmatched one.
        (CHARGE, here(held=frozenset({PURCHASE})), 0),
        (CHARGE, here(**UNMATCHED), 0),
    ],
)
def test_a_payment_that_is_not_recorded_is_found(charge, own, found):
    assert len(list(find_unrecorded_charges(there([charge]), own))) == found


def test_a_refused_refund_hides_no_later_one():
    refused = replace(REFUND, state=RefundState.REFUSED)
    assert len(list(find_unrecorded_refunds(there([], [refused, BY_HAND]), here()))) == 1


@pytest.mark.parametrize(
    ("refunds", "found"),
    [([], 1), ([99], 1), ([60, 39], 1), ([100], 0), ([60, 40], 0)],
)
def test_an_unmatched_payment_is_found_until_it_is_refunded(refunds, found):
    made = [replace(BY_HAND, refund_id=f"re_{number}", amount=amount) for number, amount in enumerate(refunds)]
    assert len(list(find_unmatched_charges(there([CHARGE], made), here(**UNMATCHED)))) == found
    waiting = [replace(one, state=RefundState.WAITING) for one in made]
    assert len(list(find_unmatched_charges(there([CHARGE], waiting), here(**UNMATCHED)))) == 1
    assert list(find_unmatched_charges(there([CHARGE]), here())) == []


def test_a_recorded_payment_that_the_provider_lacks_is_found():
    assert len(list(find_missing_charges(there(), here([RECORDED])))) == 1
    # A payment that was recorded after the reading began may be missing in it.
    late = replace(RECORDED, create_time=READ)
    assert list(find_missing_charges(there(), here([late]))) == []
    assert len(list(find_missing_charges(there([replace(CHARGE, payment_id="pi_2")]), here([RECORDED])))) == 1


@pytest.mark.parametrize(
    ("refund", "own", "found"),
    [
        (REFUND, here(), 1),
        (BY_HAND, here(), 1),
        (replace(BY_HAND, state=RefundState.WAITING), here(), 0),
        (replace(REFUND, state=RefundState.WAITING), here(), 1),
        (replace(REFUND, state=RefundState.REFUSED), here(), 0),
        (BY_HAND, here(outside_refunds=(OUTSIDE,)), 0),
        (BY_HAND, here(outside_refunds=(replace(OUTSIDE, return_time=NOW),)), 1),
        (REFUND, here(**UNMATCHED), 0),
        (replace(REFUND, amount=39), here(orders=[ORDER]), 1),
        (replace(REFUND, currency="CHF"), here(orders=[ORDER]), 1),
        (replace(REFUND, amount=30), here(orders=[replace(ORDER, credited=10)]), 0),
        (REFUND, here(orders=[replace(ORDER, status=FAILED)]), 1),
        (replace(REFUND, state=RefundState.WAITING), here(orders=[replace(ORDER, status=FAILED, refund_id=None)]), 0),
        (REFUND, here(orders=[replace(ORDER, refund_id="re_9")]), 1),
        # The refund of a PENDING order may be recorded soon.
        (REFUND, here(orders=[replace(ORDER, status=PENDING, refund_id=None)]), 0),
    ],
)
def test_a_refund_that_is_not_recorded_alike_is_found(refund, own, found):
    assert len(list(find_unrecorded_refunds(there([CHARGE], [refund]), own))) == found


@pytest.mark.parametrize(
    ("order", "listed", "found"),
    [
        ({}, None, 1),
        ({}, RefundState.REFUSED, 1),
        ({}, RefundState.WAITING, 1),
        ({}, RefundState.MADE, 0),
        ({"status": PENDING}, None, 0),
        ({"is_by_hand": True}, None, 0),
        ({"credited": 40}, None, 0),
        ({"complete_time": READ}, None, 0),
    ],
)
def test_a_recorded_refund_that_was_not_made_is_found(order, listed, found):
    refunds = [] if listed is None else [replace(REFUND, state=listed, failure="closed")]
    assert len(list(find_missing_refunds(there([CHARGE], refunds), here(orders=[replace(ORDER, **order)])))) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [({}, 1), ({"return_time": NOW}, 0), ({"kind": OutsideRefundKind.DISPUTE}, 0), ({"create_time": READ}, 0)],
)
def test_an_outside_refund_that_was_not_made_is_found(changes, found):
    own = here(outside_refunds=(replace(OUTSIDE, **changes),))
    assert len(list(find_missing_refunds(there([CHARGE]), own))) == found


def test_a_missing_refund_is_shown_with_its_state():
    [nothing] = find_missing_refunds(there(), here(orders=[ORDER]))
    refused = replace(REFUND, state=RefundState.REFUSED, failure="closed")
    [failed] = find_missing_refunds(there(refunds=[refused]), here(orders=[ORDER]))
    assert (nothing, failed) == ("refund re_1: 40 here, nothing there", "refund re_1: 40 here, REFUSED (closed) there")


def test_an_order_that_was_refunded_twice_is_found():
    again = replace(REFUND, refund_id="re_2")
    assert list(find_repeated_refunds(there(refunds=[REFUND]), here())) == []
    assert len(list(find_repeated_refunds(there(refunds=[REFUND, again]), here()))) == 1
    assert list(find_repeated_refunds(there(refunds=[REFUND, again]), here(outside_refunds=(OUTSIDE,)))) == []
    refused = replace(again, state=RefundState.REFUSED)
    assert list(find_repeated_refunds(there(refunds=[REFUND, refused]), here())) == []
    # Refunds without an order are not repetitions of each other.
    by_hand = [replace(BY_HAND, refund_id=name) for name in ("re_8", "re_9")]
    assert list(find_repeated_refunds(there(refunds=by_hand), here())) == []


@pytest.mark.parametrize(
    ("own", "found"),
    [
        (here(), "nothing"),
        (here(disputes=(replace(OWN_DISPUTE, amount=99),)), "99 OPEN"),
        (here(disputes=(replace(OWN_DISPUTE, status=DisputeStatus.WON),)), "100 WON"),
        (here(disputes=(OWN_DISPUTE,)), None),
        (here(**UNMATCHED), None),
    ],
)
def test_a_dispute_that_is_not_recorded_alike_is_found(own, found):
    faults = list(find_unrecorded_disputes(there(disputes=(DISPUTE,)), own))
    assert len(faults) == (found is not None)
    assert found is None or faults[0].endswith(f"{found} here")


def test_the_sums_are_shown_by_currency():
    provider = there(
        [CHARGE, replace(CHARGE, payment_id="pi_2", currency="CHF", amount=7)],
        [REFUND, replace(BY_HAND, currency="CHF", amount=3), replace(BY_HAND, state=RefundState.WAITING)],
    )
    assert sums(provider, here([RECORDED, replace(RECORDED, amount=1)], [ORDER])) == [
        "CHF captured: 0 here, 7 at the provider",
        "CHF refunded: 0 here, 3 at the provider",
        "EUR captured: 101 here, 100 at the provider",
        "EUR refunded: 40 here, 40 at the provider",
    ]


@pytest.mark.parametrize(
    ("order", "outside", "amount"),
    [
        ({}, {}, 65),
        ({"status": PENDING}, {}, 25),
        ({"is_by_hand": True}, {}, 25),
        ({"credited": 10}, {}, 55),
        ({"currency": "CHF"}, {}, 25),
        ({}, {"currency": "CHF"}, 40),
        ({}, {"return_time": NOW}, 40),
        ({}, {"kind": OutsideRefundKind.DISPUTE}, 40),
    ],
)
def test_refunds_made_at_the_provider_are_counted_once(order, outside, amount):
    own = here(orders=[replace(ORDER, **order)], outside_refunds=(replace(OUTSIDE, **outside),))
    assert refunded_here(own, "EUR") == amount
