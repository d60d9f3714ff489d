"""Each difference between the provider's records and ours is found once, and nothing is found where both agree."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.disputes import Dispute, DisputeStatus
from ticket_service.domain.findings import (
    DisputeChanged,
    NewCharge,
    NewOutsideRefund,
    OrderAnswered,
    OrderFailedLater,
    OrderMadeAfterAll,
    OutsideRefundFailed,
    OwnPayment,
    ProviderPayment,
    by_payment,
    findings,
    needs_look,
)
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind, take_credit
from ticket_service.domain.payments import RefundState
from ticket_service.domain.reconciliation import ProviderCharge, ProviderDispute, ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus, fail_later, recover, without_credit

MADE, REFUSED, WAITING = RefundState.MADE, RefundState.REFUSED, RefundState.WAITING
PENDING, DONE, FAILED = RefundOrderStatus.PENDING, RefundOrderStatus.DONE, RefundOrderStatus.FAILED
ORDER = RefundOrder(uuid4(), uuid4(), uuid4(), uuid4(), "stripe", "pi_1", "EUR", 2_500, NOW, NOW)
CHARGE = ProviderCharge("pi_1", str(ORDER.purchase_id), "EUR", 5_000)
DISPUTE = ProviderDispute("dp_1", "pi_1", "EUR", 5_000, DisputeStatus.OPEN, "fraudulent")


def refund(state: RefundState = MADE, **changes: Any) -> ProviderRefund:
    return replace(ProviderRefund("re_1", str(ORDER.order_id), "EUR", 2_500, state, "pi_1", 1, "lost card"), **changes)


def order(status: RefundOrderStatus, **changes: Any) -> RefundOrder:
    if status is DONE:
        changes = {"refund_id": "re_1", "complete_time": NOW, **changes}
    return replace(ORDER, status=status, due_time=NOW if status is PENDING else None, **changes)


def outside(**changes: Any) -> OutsideRefund:
    usual = OutsideRefund(
        ORDER.event_id, "stripe", "re_9", ORDER.purchase_id, "pi_1", OutsideRefundKind.REFUND, "EUR", 1_000, NOW
    )
    return replace(usual, **changes)


def own(*orders: RefundOrder, outside_refunds: tuple[OutsideRefund, ...] = (), **changes: Any) -> OwnPayment:
    usual = OwnPayment(
        "stripe",
        "pi_1",
        ORDER.purchase_id,
        ORDER.event_id,
        {str(one.order_id): one for one in orders},
        {one.refund_id: one for one in outside_refunds},
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("status", "at_provider", "expected"),
    [
        (PENDING, refund(MADE), OrderAnswered),
        (PENDING, refund(WAITING), None),
        (PENDING, refund(REFUSED), OrderAnswered),
        # A later round repeats the refund, whatever became of the earlier one.
        (PENDING, refund(REFUSED, round=2), None),
        (FAILED, refund(REFUSED), None),
        (FAILED, refund(MADE), OrderMadeAfterAll),
        (DONE, refund(MADE), None),
        (DONE, refund(WAITING), None),
        (DONE, refund(REFUSED), OrderFailedLater),
        (DONE, refund(REFUSED, refund_id="re_of_an_earlier_round"), None),
        (DONE, refund(MADE, refund_id="re_again"), NewOutsideRefund),
        (DONE, refund(MADE, refund_id="re_2", order_id=""), NewOutsideRefund),
        (DONE, refund(WAITING, refund_id="re_2", order_id=""), None),
        (DONE, refund(MADE, refund_id="re_2", order_id="of an order that a restore lost"), NewOutsideRefund),
    ],
)
def test_a_refund_is_compared_with_its_order(
    status: RefundOrderStatus, at_provider: ProviderRefund, expected: type[object] | None
) -> None:
    found = findings(ProviderPayment("pi_1", CHARGE, (at_provider,)), own(order(status)))
    assert [type(one) for one in found] == ([] if expected is None else [expected])


@pytest.mark.parametrize("status", [PENDING, FAILED])
def test_a_refund_of_another_amount_than_its_order_counts_as_outside(status: RefundOrderStatus) -> None:
    # A try was under way while the credit of its order came back: its refund is of the rest at that time.
    earlier = refund(MADE, amount=1_500)
    assert findings(ProviderPayment("pi_1", CHARGE, (earlier,)), own(order(status, round=2))) == [
        NewOutsideRefund(earlier)
    ]


def test_credit_that_came_back_begins_a_new_round_of_a_pending_order() -> None:
    pending = without_credit(order(PENDING, credited=1_500), 1_000)
    assert (pending.remaining, pending.round, pending.due_time) == (2_000, 2, NOW)
    failed = without_credit(order(FAILED, credited=1_500), 1_000)
    assert (failed.remaining, failed.round, failed.status) == (2_000, 1, FAILED)


def test_an_outside_refund_is_found_once_and_fails_once() -> None:
    known = own(outside_refunds=(outside(),))
    made, failed = refund(MADE, refund_id="re_9", order_id=""), refund(REFUSED, refund_id="re_9", order_id="")
    assert findings(ProviderPayment("pi_1", CHARGE, (made,)), known) == []
    assert findings(ProviderPayment("pi_1", CHARGE, (failed,)), known) == [OutsideRefundFailed(outside())]
    returned = own(outside_refunds=(outside(return_time=NOW),))
    assert findings(ProviderPayment("pi_1", CHARGE, (failed,)), returned) == []


def test_a_dispute_is_found_with_each_change_of_status_and_amount() -> None:
    there = ProviderPayment("pi_1", CHARGE, (), (DISPUTE,))
    assert findings(there, own()) == [DisputeChanged(DISPUTE)]
    recorded = Dispute(
        ORDER.event_id,
        uuid4(),
        "stripe",
        "dp_1",
        ORDER.purchase_id,
        "pi_1",
        "EUR",
        5_000,
        DISPUTE.status,
        "x",
        NOW,
        NOW,
    )
    assert findings(there, own(disputes={"dp_1": recorded})) == []
    for before in (replace(recorded, status=DisputeStatus.INQUIRY), replace(recorded, amount=1)):
        assert findings(there, own(disputes={"dp_1": before})) == [DisputeChanged(DISPUTE)]


def test_a_charge_without_a_payment_is_found_and_nothing_of_strangers() -> None:
    unknown = OwnPayment("stripe", "pi_1")
    assert findings(ProviderPayment("pi_1", CHARGE), unknown) == [NewCharge(CHARGE)]
    assert findings(ProviderPayment("pi_1", None, (refund(),), (DISPUTE,)), unknown) == []
    unmatched = replace(unknown, unmatched_refunded=0)
    assert not needs_look(ProviderPayment("pi_1", CHARGE), unmatched)
    assert needs_look(ProviderPayment("pi_1", CHARGE, (refund(),)), unmatched)


def test_listed_records_are_grouped_by_payment() -> None:
    other = refund(payment_id="pi_2")
    assert by_payment([CHARGE], [other, refund()], [DISPUTE]) == [
        ProviderPayment("pi_1", CHARGE, (refund(),), (DISPUTE,)),
        ProviderPayment("pi_2", None, (other,)),
    ]


@pytest.mark.parametrize(
    ("status", "amounts", "expected"),
    [
        # The credit covers nothing, a part, exactly the amount, and more than it.
        (PENDING, (), (PENDING, 0, 1, ())),
        (PENDING, (1_000,), (PENDING, 1_000, 1, (1_000,))),
        (PENDING, (1_000, 1_500), (DONE, 2_500, 1, (1_000, 1_500))),
        (PENDING, (2_000, 2_000), (DONE, 2_500, 1, (2_000, 500))),
        # A refused round has ended.
        (FAILED, (1_000,), (PENDING, 1_000, 2, (1_000,))),
        (FAILED, (9_000,), (DONE, 2_500, 2, (2_500,))),
    ],
)
def test_an_order_takes_the_credit_that_is_left(
    status: RefundOrderStatus, amounts: tuple[int, ...], expected: tuple[object, ...]
) -> None:
    given = [outside(refund_id=f"re_{number}", amount=amount) for number, amount in enumerate(amounts)]
    # Money that came back, and money that another order has counted, gives no credit.
    used = [outside(refund_id="re_back", return_time=NOW), outside(refund_id="re_used", credited=1_000)]
    taken = take_credit(order(status), [*used, *given], NOW)
    after, sources = taken.order, tuple(source.credited for source in taken.sources)
    assert (after.status, after.credited, after.round, sources) == expected
    assert (after.due_time is None) == (after.status is DONE)


def test_an_order_without_a_cancellation_is_tried_again_by_itself() -> None:
    failed = fail_later(order(DONE, cancellation_id=None), "lost card", NOW)
    assert (failed.status, failed.round, failed.refund_id, failed.failure) == (PENDING, 2, None, "lost card")
    with_cancellation = fail_later(order(DONE), "lost card", NOW)
    assert (with_cancellation.status, with_cancellation.round, with_cancellation.due_time) == (FAILED, 1, None)
    assert recover(with_cancellation, "re_2", NOW).round == 2
