from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.payments import RefundProgress, RefundState
from ticket_service.domain.refund_orders import (
    Confirmation,
    RefundOrder,
    RefundOrderStatus,
    apply_progress,
    claim,
    confirm,
    retry,
)
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
