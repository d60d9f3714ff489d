from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW
from ticket_service.domain.events import MAX_PRICE, RefundTier
from ticket_service.domain.refund_policy import Refund, days_before, refund, share

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("start", "zone", "cancelled", "days"),
    [
        # Clocks go forward on 28 March: seven days before are 167 hours.
        ("2027-03-30T20:00+02:00", "Europe/Berlin", "2027-03-23T20:00+01:00", 7),
        ("2027-03-30T20:00+02:00", "Europe/Berlin", "2027-03-23T23:59:59.999999+01:00", 7),
        ("2027-03-30T20:00+02:00", "Europe/Berlin", "2027-03-24T00:00+01:00", 6),
        ("2027-03-30T20:00+02:00", "Europe/Berlin", "2027-03-22T23:59+01:00", 8),
        # Clocks go back on 31 October: seven days before are 169 hours.
        ("2027-11-02T20:00+01:00", "Europe/Berlin", "2027-10-26T20:00+02:00", 7),
        ("2027-11-02T20:00+01:00", "Europe/Berlin", "2027-10-27T00:00+02:00", 6),
        # The first minute of a day is as much before as its last.
        ("2027-05-10T00:00+02:00", "Europe/Berlin", "2027-05-09T23:59+02:00", 1),
        ("2027-05-10T00:00+02:00", "Europe/Berlin", "2027-05-10T00:00+02:00", 0),
        # It is the zone of the event that counts, not UTC.
        ("2027-05-10T08:00+14:00", "Pacific/Kiritimati", "2027-05-09T23:59+14:00", 1),
        ("2027-05-10T08:00+09:00", "Asia/Tokyo", "2027-05-03T23:00+09:00", 7),
        ("2027-05-10T20:00+00:00", "UTC", "2027-05-03T23:00+00:00", 7),
        ("2027-05-10T20:00+00:00", "UTC", "2027-05-10T20:00+00:00", 0),
        ("2027-05-10T20:00+00:00", "UTC", "2027-05-10T20:00:00.000001+00:00", -1),
        # No zone has rules for the year 9999, whose last date has no local time in some zones.
        ("9999-12-31T23:00+00:00", "Pacific/Kiritimati", "9999-12-24T01:00+00:00", 7),
    ],
)
def test_days_are_dates_of_the_calendar_of_the_event(start, zone, cancelled, days):
    assert days_before(datetime.fromisoformat(start), zone, datetime.fromisoformat(cancelled)) == days


@pytest.mark.parametrize(("days", "percent"), [(400, 100), (7, 100), (6, 50), (3, 50), (2, 0), (0, 0), (-1, 0)])
def test_the_default_policy_changes_at_midnight(days, percent):
    midnight = NOW.replace(hour=0) + timedelta(days=1)
    start = NOW + timedelta(days=days)
    assert refund(10_000, (), start, "UTC", NOW) == Refund(percent * 100, percent)
    assert refund(10_000, (), start + timedelta(days=1), "UTC", midnight).percent == percent


@pytest.mark.parametrize(
    ("before_start", "percent"),
    [(timedelta(days=30), 80), (timedelta(days=29), 25), (timedelta(0), 25), (-SECOND, 0)],
)
def test_an_events_own_tiers_apply_in_any_order(before_start, percent):
    tiers = (RefundTier(0, 25), RefundTier(30, 80))
    assert refund(1_000, tiers, NOW + before_start, "UTC", NOW).percent == percent
    assert refund(1_000, tiers[::-1], NOW + before_start, "UTC", NOW).percent == percent


def test_the_earliest_tier_applies_even_if_a_later_grants_more():
    tiers = (RefundTier(10, 20), RefundTier(5, 90))
    assert refund(100, tiers, NOW + timedelta(days=20), "UTC", NOW).percent == 20


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
