from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW
from ticket_service.domain.events import MAX_PRICE, RefundTier
from ticket_service.domain.refund_policy import Refund, refund, share

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("before_start", "percent"),
    [
        (timedelta(days=400), 100),
        (timedelta(days=7), 100),
        (timedelta(days=7) - SECOND, 50),
        (timedelta(days=7) - timedelta(microseconds=1), 50),
        (timedelta(days=3), 50),
        (timedelta(days=3) - SECOND, 0),
        (timedelta(0), 0),
        (-timedelta(days=1), 0),
    ],
)
def test_the_default_policy_changes_at_the_exact_second(before_start, percent):
    assert refund(10_000, (), NOW + before_start, NOW) == Refund(percent * 100, percent)


@pytest.mark.parametrize(
    ("before_start", "percent"),
    [(timedelta(days=30), 80), (timedelta(days=30) - SECOND, 25), (timedelta(0), 25), (-SECOND, 0)],
)
def test_an_events_own_tiers_apply_in_any_order(before_start, percent):
    tiers = (RefundTier(0, 25), RefundTier(30, 80))
    assert refund(1_000, tiers, NOW + before_start, NOW).percent == percent
    assert refund(1_000, tiers[::-1], NOW + before_start, NOW).percent == percent


def test_the_earliest_tier_applies_even_if_a_later_grants_more():
    tiers = (RefundTier(10, 20), RefundTier(5, 90))
    assert refund(100, tiers, NOW + timedelta(days=20), NOW).percent == 20


@pytest.mark.parametrize(
    ("price", "percent", "amount"),
    [(1, 50, 1), (1, 49, 0), (999, 50, 500), (333, 33, 110), (0, 100, 0), (MAX_PRICE, 100, MAX_PRICE)],
)
def test_a_share_rounds_half_a_minor_unit_up(price, percent, amount):
    assert share(price, percent) == amount


@given(st.lists(st.integers(0, MAX_PRICE), min_size=1), st.integers(0, 100))
def test_all_shares_of_a_purchase_never_exceed_the_payment(prices, percent):
    shares = [share(price, percent) for price in prices]
    assert sum(shares) <= sum(prices)
    # Rounding half up gives at most half a minor unit above the exact share, and less than that below.
    assert all(-50 < 100 * part - price * percent <= 50 for part, price in zip(shares, prices, strict=True))
