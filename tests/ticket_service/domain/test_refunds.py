from datetime import timedelta

import pytest
from ticket_rows import NOW

from ticket_service.domain.events import MAX_PRICE, RefundTier
from ticket_service.domain.refunds import Refund, refund, share

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
def test_the_default_policy_changes_to_the_second(before_start, percent):
    assert refund(10_000, (), NOW + before_start, NOW) == Refund(percent * 100, percent)


@pytest.mark.parametrize(
    ("before_start", "percent"),
    [
        (timedelta(days=30), 80),
        (timedelta(days=30) - SECOND, 25),
        (timedelta(0), 25),
        (-SECOND, 0),
    ],
)
def test_an_events_own_tiers_apply_in_any_order(before_start, percent):
    tiers = (RefundTier(0, 25), RefundTier(30, 80))
    assert refund(1_000, tiers, NOW + before_start, NOW).percent == percent
    assert refund(1_000, tiers[::-1], NOW + before_start, NOW).percent == percent


def test_the_earliest_tier_applies_even_where_a_later_one_gives_more():
    tiers = (RefundTier(10, 20), RefundTier(5, 90))
    assert refund(100, tiers, NOW + timedelta(days=20), NOW).percent == 20


@pytest.mark.parametrize(
    ("price", "percent", "amount"),
    [(1, 50, 1), (1, 49, 0), (999, 50, 500), (333, 33, 110), (0, 100, 0), (MAX_PRICE, 100, MAX_PRICE)],
)
def test_a_share_is_exact_with_half_a_minor_unit_rounded_up(price, percent, amount):
    assert share(price, percent) == amount
