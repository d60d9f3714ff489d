from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.payments import RefundProgress, RefundState
from ticket_service.domain.refund_orders import (
    RETRY_INTERVAL,
    Confirmation,
    RefundOrder,
    RefundOrderStatus,
    apply_progress,
    claim,
    confirm,
    fail_later,
    order_of_ticket,
    recover,
    retry,
    without_credit,
)
from ticket_service.domain.ticket_refunds import TicketRefund
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

ORDER = RefundOrder(
    event_id=new_id(),
    order_id=new_id(),
    purchase_id=new_id(),
    cancellation_id=new_id(),
    provider="stripe",
    payment_id="pi_1",
    currency="EUR",
    amount=2_500,
    create_time=NOW,
    due_time=NOW,
)
WAIT = timedelta(seconds=20)
REFUSAL = RefundProgress(RefundState.REFUSED, failure="the card is closed")
BY_HAND = Confirmation("transfer 7", by_hand=True)


def instead(order: RefundOrder, made: Confirmation = BY_HAND) -> str:
    with pytest.raises(Failure) as refused:
        confirm(order, made, NOW)
    return str(refused.value.metadata["instead"])


@pytest.mark.parametrize("cancellation_id", [ORDER.cancellation_id, None])
def test_a_refused_order_is_paid_by_hand_once(cancellation_id):
    refused = apply_progress(claim(replace(ORDER, cancellation_id=cancellation_id), NOW, WAIT), REFUSAL, NOW)
    assert instead(refused, Confirmation("transfer 7", by_hand=False)) == "PAY_BY_HAND"
    paid = confirm(refused, BY_HAND, NOW)
    assert (paid.status, paid.refund_id, paid.due_time) == (RefundOrderStatus.DONE, "transfer 7", None)
    # One refusal ended one round.
    assert paid.round == 2
    assert confirm(paid, BY_HAND, NOW) is paid
    assert instead(paid, Confirmation("transfer 8", by_hand=True)) == "NOTHING"


def test_an_order_whose_try_has_no_answer_is_not_paid_by_hand():
    tried = claim(ORDER, NOW, WAIT)
    assert instead(ORDER) == instead(tried) == "WAIT"
    refused = apply_progress(tried, REFUSAL, NOW)
    again = claim(retry(refused, refused.amount, NOW), NOW, WAIT)
    assert instead(again) == "WAIT"


def test_an_order_that_the_provider_made_is_not_paid_by_hand():
    made = apply_progress(claim(ORDER, NOW, WAIT), RefundProgress(RefundState.MADE, "re_1"), NOW)
    assert instead(made) == "NOTHING"
    # The same id does not make it a payment by hand.
    assert instead(made, Confirmation("re_1", by_hand=True)) == "NOTHING"


LATE = replace(ORDER, cancellation_id=None)
MADE = RefundProgress(RefundState.MADE, "re_1")


def test_a_try_is_counted_and_the_next_one_is_due_after_a_wait():
    tried = claim(claim(replace(ORDER, failure="an answer"), NOW, WAIT), NOW, WAIT)
    assert (tried.attempts, tried.due_time, tried.failure) == (2, NOW + WAIT, None)
    assert apply_progress(tried, RefundProgress(RefundState.WAITING), NOW) is tried


def test_a_refund_that_was_made_ends_its_order():
    made = apply_progress(claim(ORDER, NOW, WAIT), MADE, NOW + WAIT)
    assert (made.status, made.refund_id, made.due_time) == (RefundOrderStatus.DONE, "re_1", None)
    assert (made.complete_time, made.round) == (NOW + WAIT, 1)


def test_a_refused_refund_waits_for_the_organizer_if_one_can_retry():
    refused = apply_progress(ORDER, REFUSAL, NOW)
    assert (refused.status, refused.due_time, refused.round) == (RefundOrderStatus.FAILED, None, 1)
    again = retry(refused, 2_000, NOW + WAIT)
    assert (again.status, again.amount, again.round) == (RefundOrderStatus.PENDING, 2_000, 2)
    assert again.due_time == NOW + WAIT


def test_a_refused_refund_without_a_retry_is_repeated_hourly():
    refused = apply_progress(LATE, REFUSAL, NOW)
    assert (refused.status, refused.round, refused.failure) == (RefundOrderStatus.PENDING, 2, "the card is closed")
    assert refused.due_time == NOW + RETRY_INTERVAL == NOW + timedelta(hours=1)


def test_only_the_first_failure_without_a_retry_is_reported():
    first = apply_progress(LATE, REFUSAL, NOW)
    assert first.is_first_failure
    assert not apply_progress(claim(first, NOW, WAIT), REFUSAL, NOW).is_first_failure
    assert not claim(first, NOW, WAIT).is_first_failure
    assert not LATE.is_first_failure
    # The organizer is notified of each refusal of a cancellation's refund.
    assert not replace(first, cancellation_id=new_id()).is_first_failure


def test_a_refund_that_fails_later_is_due_again_in_a_new_round():
    later = fail_later(apply_progress(LATE, MADE, NOW), "closed", NOW)
    assert (later.status, later.round, later.due_time) == (RefundOrderStatus.PENDING, 2, NOW + RETRY_INTERVAL)
    assert (later.refund_id, later.failure, later.complete_time) == (None, "closed", None)
    waiting = fail_later(apply_progress(ORDER, MADE, NOW), "closed", NOW)
    assert (waiting.status, waiting.round, waiting.due_time) == (RefundOrderStatus.FAILED, 1, None)
    recovered = recover(waiting, "re_2", NOW)
    assert (recovered.status, recovered.round, recovered.refund_id) == (RefundOrderStatus.DONE, 2, "re_2")
    assert (recovered.failure, recovered.complete_time) == (None, NOW)


def test_credit_that_comes_back_begins_a_new_round_of_an_open_order():
    covered = replace(ORDER, credited=500)
    assert covered.remaining == 2_000
    back = without_credit(covered, 200)
    assert (back.credited, back.remaining, back.round) == (300, 2_200, 2)
    failed = without_credit(replace(covered, status=RefundOrderStatus.FAILED), 200)
    assert (failed.credited, failed.round) == (300, 1)


def test_the_refund_of_a_ticket_is_ordered_unless_the_caller_refunds():
    refund = TicketRefund(
        event_id=ORDER.event_id,
        ticket_refund_id=new_id(),
        ticket_id=new_id(),
        purchase_id=ORDER.purchase_id,
        provider="stripe",
        payment_id="pi_1",
        currency="EUR",
        amount=700,
        reason="",
        caller="olga",
        create_time=NOW,
    )
    order = order_of_ticket(refund)
    assert order is not None
    assert (order.order_id, order.amount, order.due_time) == (refund.ticket_refund_id, 700, NOW)
    assert order_of_ticket(replace(refund, provider="external")) is None
