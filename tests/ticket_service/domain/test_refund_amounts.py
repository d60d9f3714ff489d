"""What the refusal of an amount says."""

import pytest

from tests.selling.rows import make_event, make_sold
from ticket_service.domain.refund_amounts import check_amount
from ticketing.chassis.failures import Failure


@pytest.mark.parametrize(
    ("maximum", "message"),
    [(2_000, "1 to 2000 EUR in minor units can be refunded"), (0, "nothing of the price is left to refund")],
)
def test_a_refusal_names_the_rest_or_that_nothing_is_left(maximum, message):
    with pytest.raises(Failure, match=message):
        check_amount(make_sold(make_event()), ("EUR", 2_001), 1, maximum)


@pytest.mark.parametrize(
    ("wanted", "is_allowed"),
    [
        (("EUR", 499), False),
        (("EUR", 500), True),
        (("EUR", 2_000), True),
        (("EUR", 2_001), False),
        (("CHF", 1_000), False),
    ],
)
def test_an_amount_is_in_the_bounds_and_the_currency_of_the_event(wanted, is_allowed):
    sold = make_sold(make_event())
    if is_allowed:
        assert check_amount(sold, wanted, 500, 2_000) == wanted[1]
        return
    with pytest.raises(Failure) as refused:
        check_amount(sold, wanted, 500, 2_000)
    assert refused.value.reason == "REFUND_OUT_OF_RANGE"
    assert (refused.value.metadata["min"], refused.value.metadata["max"]) == ("500", "2000")


def test_the_one_amount_that_is_left_can_be_refunded():
    sold = make_sold(make_event())
    assert check_amount(sold, ("EUR", 1), 1, 1) == 1
    with pytest.raises(Failure, match="1 to 1 EUR"):
        check_amount(sold, ("EUR", 2), 1, 1)
