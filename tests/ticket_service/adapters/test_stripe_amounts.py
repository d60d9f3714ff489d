"""Compare the adapter's table with the one of the stand-in, which is written from the sources by itself."""

import pytest

from tests.stand_ins.stripe.currencies import check_charge, check_refund
from tests.stand_ins.stripe.refusals import Refused
from ticket_service.adapters.stripe.amounts import RULES, from_stripe, to_stripe
from ticket_service.domain.currencies import CURRENCIES

AMOUNTS = [1, 5, 9, 10, 29, 30, 49, 50, 51, 99, 100, 101, 199, 200, 250, 300, 400, 999, 1_000, 1_005, 1_499, 1_500]
AMOUNTS += [2_500, 5_250, 5_255, 5_900, 17_499, 17_500, 38_000, 999_999_999, 1_000_000_000]


def stripe_charges(currency: str, amount: int | None) -> bool:
    if amount is None:
        return False
    try:
        check_charge(currency.lower(), amount)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("currency", CURRENCIES)
def test_every_currency_is_charged_as_stripe_charges_it(currency):
    for amount in AMOUNTS:
        counted = to_stripe(currency, amount)
        assert (RULES.find_fault(currency, amount) is None) == stripe_charges(currency, counted), amount
        if counted is not None:
            assert from_stripe(currency, counted) == amount


@pytest.mark.parametrize("currency", RULES.currencies)
def test_every_rounded_share_of_a_price_is_refunded(currency):
    price = 52_500
    for percent in range(1, 101):
        refund = RULES.refundable(currency, price * percent // 100, price)
        counted = to_stripe(currency, refund)
        assert counted is not None
        check_refund(currency.lower(), counted)
        assert price * percent // 100 <= refund <= price


@pytest.mark.parametrize(
    ("currency", "amount", "at_stripe"),
    [
        ("EUR", 2_500, 2_500),
        ("JPY", 2_500, 2_500),
        ("ISK", 5_900, 590_000),
        ("UGX", 38_000, 3_800_000),
        ("MGA", 250_000, 2_500),
        ("MGA", 250_050, None),
        ("KWD", 5_250, 5_250),
        ("KWD", 5_255, None),
        ("HUF", 1_045, 1_045),
        ("TWD", 80_045, 80_045),
    ],
)
def test_amounts_are_converted_to_the_unit_of_stripe(currency, amount, at_stripe):
    assert to_stripe(currency, amount) == at_stripe
