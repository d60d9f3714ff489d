"""Tests of refunds of a part of a ticket's price without a cancellation."""

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.provider_rules import CurrencyRule, ProviderRules
from ticket_service.domain.ticket_refunds import (
    PaidTicket,
    Payer,
    RefundRequest,
    TicketRefund,
    TicketRefundStatus,
    record_refund,
    reopen,
    request,
)
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

PAYER = Payer("stripe", "pi_1")
TENS = ProviderRules({"EUR": CurrencyRule(10, 10, 1_000_000)})


def refund(amount: int, *, cancelled: int = 0, payer: Payer | None = PAYER, **values: object) -> TicketRefund:
    sold = make_sold(make_event(), price=2_505, refunded=500)
    wanted = RefundRequest("olga", new_id(), sold.ticket.ticket_id, ("EUR", amount), "rain")
    rules = values.get("rules")
    assert rules is None or isinstance(rules, ProviderRules)
    return request(PaidTicket(sold, payer, cancelled), wanted, new_id(), NOW, rules)


def test_a_refund_is_of_what_is_left_of_the_price():
    assert (refund(1).amount, refund(2_005).amount, refund(1_005, cancelled=1_000).amount) == (1, 2_005, 1_005)
    for amount, cancelled in ((0, 0), (2_006, 0), (1_006, 1_000)):
        with pytest.raises(Failure) as refused:
            refund(amount, cancelled=cancelled)
        assert refused.value.reason == "REFUND_OUT_OF_RANGE"


def test_nothing_is_left_of_a_free_ticket():
    with pytest.raises(Failure, match="nothing of the price is left"):
        refund(1, payer=None)


def test_a_refund_is_rounded_up_to_one_that_the_provider_makes():
    assert (refund(11, rules=TENS).amount, refund(20, rules=TENS).amount) == (20, 20)
    # The next multiple would be more than is left.
    assert refund(2_004, rules=TENS).amount == 2_000


def test_a_made_refund_is_recorded_once_and_may_come_back():
    made = record_refund(refund(5), "re_1", NOW)
    assert (made.status, made.refund_id, made.complete_time) == (TicketRefundStatus.DONE, "re_1", NOW)
    assert record_refund(made, "re_1", NOW) is made
    with pytest.raises(Failure) as refused:
        record_refund(made, "re_2", NOW)
    assert refused.value.metadata["instead"] == "NOTHING"
    again = reopen(made)
    assert (again.status, again.refund_id, again.complete_time) == (TicketRefundStatus.REFUNDING, None, None)
