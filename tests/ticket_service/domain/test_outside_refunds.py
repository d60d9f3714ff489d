"""Tests of the credit that refunds outside of this service give to refund orders."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW
from ticket_service.domain.outside_refunds import (
    OutsideRefund,
    OutsideRefundKind,
    give_back,
    of_order,
    take_credit,
)
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticketing.chassis.ids import new_id

EVENT, PURCHASE = new_id(), new_id()
ORDER = RefundOrder(
    event_id=EVENT,
    order_id=new_id(),
    purchase_id=PURCHASE,
    cancellation_id=new_id(),
    provider="stripe",
    payment_id="pi_1",
    currency="EUR",
    amount=100,
    create_time=NOW,
    due_time=NOW,
)
PENDING, DONE, FAILED = RefundOrderStatus


def outside(amount: int, name: str = "re_1", credited: int = 0) -> OutsideRefund:
    kind = OutsideRefundKind.REFUND
    return OutsideRefund(EVENT, "stripe", name, PURCHASE, "pi_1", kind, "EUR", amount, NOW, credited)


def test_full_credit_makes_an_order_done():
    taken = take_credit(ORDER, [outside(60), outside(50, "re_2")], NOW)
    assert [one.credited for one in taken.sources] == [60, 40]
    order = taken.order
    assert (order.status, order.credited, order.remaining, order.refund_id) == (DONE, 100, 0, "re_2")
    assert (order.complete_time, order.due_time, order.round) == (NOW, None, 1)


def test_partial_credit_leaves_the_rest_to_the_provider():
    taken = take_credit(ORDER, [outside(60, credited=10)], NOW)
    assert [one.credited for one in taken.sources] == [60]
    order = taken.order
    assert (order.status, order.credited, order.remaining, order.due_time) == (PENDING, 50, 50, NOW)
    assert (order.round, order.refund_id) == (1, None)


@pytest.mark.parametrize(("amount", "status"), [(99, PENDING), (100, DONE)])
def test_credit_for_a_failed_order_begins_a_new_round(amount, status):
    failed = replace(ORDER, status=FAILED, due_time=None)
    order = take_credit(failed, [outside(amount)], NOW).order
    assert (order.status, order.round, order.due_time) == (status, 2, NOW if status is PENDING else None)


def test_spent_and_returned_money_gives_no_credit():
    returned = give_back(outside(60), 0, NOW)
    assert (returned.credit, returned.return_time) == (0, NOW)
    taken = take_credit(ORDER, [returned, outside(60, credited=60)], NOW)
    assert (taken.order, taken.sources) == (ORDER, ())


def test_later_refunds_keep_the_credit_that_is_not_needed():
    taken = take_credit(ORDER, [outside(100), outside(50, "re_2")], NOW)
    assert [one.refund_id for one in taken.sources] == ["re_1"]


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=4))
def test_no_money_is_credited_twice_or_beyond_the_order(amount, given_back):
    sources = [outside(paid, str(number), min(paid, used)) for number, (paid, used) in enumerate(given_back)]
    taken = take_credit(replace(ORDER, amount=amount), sources, NOW)
    credit = sum(one.credit for one in sources)
    assert taken.order.credited == min(amount, credit)
    assert all(one.credited <= one.amount for one in taken.sources)
    before = {one.refund_id: one.credited for one in sources}
    assert sum(one.credited - before[one.refund_id] for one in taken.sources) == taken.order.credited
    assert (taken.order.status is DONE) == (credit >= amount)


def test_a_partial_refund_of_a_done_order_counts_for_it_in_full():
    part = of_order(replace(ORDER, credited=30, refund_id="re_9", status=DONE), NOW)
    assert (part.refund_id, part.amount, part.credited, part.credit) == ("re_9", 70, 70, 0)
    assert of_order(ORDER, NOW).refund_id == ""
