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
