from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.events import Event, EventStatus, RefundTier
from ticket_service.domain.refund_policy import Refund, RefundBasis, refund
from ticket_service.domain.terms import MoveRules, PastTerms, full_refund_until, refund_owed, replace_terms, terms_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RULES = MoveRules(bound=3 * HOUR, right=14 * DAY)
NOTHING = (RefundTier(0, 0),)
AT_PURCHASE = RefundBasis.TERMS_AT_PURCHASE


def changed(event: Event, past: Sequence[PastTerms], now: datetime = NOW, **fields) -> tuple[Event, list[PastTerms]]:
    """Change fields of an event; return it, and its past terms."""
    after = replace(event, version=event.version + 1, **fields)
    replaced = replace_terms(event, after, past, RULES, now)
    return after, [*past, *([] if replaced is None else [replaced])]


def moved(event: Event, past: Sequence[PastTerms], by: timedelta, now: datetime = NOW) -> tuple[Event, list[PastTerms]]:
    return changed(event, past, now, start_time=event.start_time + by, end_time=event.end_time + by)


def test_a_worse_policy_does_not_lower_the_refund_of_a_sold_ticket():
    event, past = changed(make_event(), (), refund_tiers=NOTHING)
    assert refund_owed(1_000, event, past, NOW) == Refund(1_000, 100, AT_PURCHASE)
    assert refund_owed(1_000, event, (), NOW) == Refund(0, 0), "a ticket sold after the change"


def test_a_better_policy_raises_the_refund_of_a_sold_ticket():
    event, past = changed(make_event(starts_in=2 * DAY), (), refund_tiers=(RefundTier(0, 80),))
    assert refund_owed(1_000, event, past, NOW) == Refund(800, 80)


def test_a_nearer_start_does_not_lower_the_refund_of_a_sold_ticket():
    event, past = moved(make_event(starts_in=10 * DAY), (), -8 * DAY)
    after_the_right = [replace(terms, full_refund_until=None) for terms in past]
    assert refund_owed(1_000, event, after_the_right, NOW) == Refund(1_000, 100, AT_PURCHASE)


def test_a_postponed_event_counts_the_policy_at_purchase_to_its_new_start():
    event, past = moved(make_event(starts_in=2 * DAY), (), 30 * DAY)
    event, past = changed(event, past, refund_tiers=NOTHING)
    assert refund_owed(1_000, event, past, NOW + 20 * DAY) == Refund(1_000, 100, AT_PURCHASE)


def test_a_change_of_the_time_zone_does_not_lower_the_refund():
    start = datetime.fromisoformat("2030-06-10T00:30+02:00")
    event = make_event(time_zone="Europe/Berlin", start_time=start, end_time=start + HOUR)
    event, past = changed(event, (), time_zone="UTC")
    assert refund_owed(1_000, event, past, datetime.fromisoformat("2030-06-03T12:00+02:00")).percent == 100
    assert refund_owed(1_000, event, (), datetime.fromisoformat("2030-06-03T12:00+02:00")).percent == 50


def test_a_change_of_other_fields_replaces_no_terms():
    event = make_event()
    assert replace_terms(event, replace(event, name="Moved", location="Park"), (), RULES, NOW) is None


def test_replaced_terms_carry_the_last_version_that_had_them():
    event = make_event()
    _, [past] = changed(event, (), refund_tiers=NOTHING)
    assert past == PastTerms(event.event_id, event.version, terms_of(event), NOW, None)


def test_a_purchase_counts_by_version_and_without_one_by_time():
    _, [past] = changed(make_event(version=7), (), refund_tiers=NOTHING)
    assert [past.replaced_after(version, NOW + DAY) for version in (6, 7, 8)] == [True, True, False]
    assert [past.replaced_after(None, NOW + late) for late in (-HOUR, timedelta(0), HOUR)] == [True, False, False]


@pytest.mark.parametrize(
    ("fields", "is_move"),
    [
        ({"start_time": 3 * HOUR, "end_time": 3 * HOUR}, False),
        ({"start_time": -3 * HOUR, "end_time": -3 * HOUR}, False),
        ({"start_time": 3 * HOUR + DAY, "end_time": 3 * HOUR + DAY}, True),
        ({"start_time": -4 * HOUR}, True),
        ({"end_time": -3 * HOUR}, False),
        ({"end_time": -3 * HOUR - timedelta(seconds=1)}, True),
        ({"end_time": DAY}, False),
    ],
)
def test_a_shift_beyond_the_bound_is_a_move(fields, is_move):
    event = make_event()
    _, [past] = changed(event, (), **{name: getattr(event, name) + by for name, by in fields.items()})
    assert (past.full_refund_until is not None) is is_move


def test_a_move_gives_a_full_refund_until_its_end_and_not_beyond_the_start():
    event, past = moved(make_event(starts_in=2 * DAY), (), 30 * DAY)
    event = replace(event, refund_tiers=NOTHING)
    past = [replace(terms, terms=replace(terms.terms, refund_tiers=NOTHING)) for terms in past]
    until = NOW + 14 * DAY
    assert full_refund_until(event, past) == until
    assert refund_owed(1_000, event, past, until - timedelta(microseconds=1)) == Refund(
        1_000, 100, RefundBasis.EVENT_MOVED
    )
    assert refund_owed(1_000, event, past, until) == Refund(0, 0)
    nearer, past = moved(make_event(starts_in=10 * DAY), (), -8 * DAY)
    assert full_refund_until(nearer, past) == nearer.start_time
    nearest, past = moved(nearer, past, -HOUR)
    assert full_refund_until(nearest, past) == nearest.start_time


def test_a_ticket_bought_after_the_move_has_no_right_to_a_full_refund():
    event, _ = moved(make_event(starts_in=2 * DAY), (), 4 * HOUR)
    assert refund_owed(1_000, event, (), NOW) == Refund(0, 0)


def test_small_shifts_add_up_to_a_move():
    event, past = moved(make_event(), (), 2 * HOUR)
    assert full_refund_until(event, past) is None
    event, past = moved(event, past, 2 * HOUR)
    assert full_refund_until(event, past) is not None
    event, past = moved(event, past, 2 * HOUR)
    assert [terms.full_refund_until is not None for terms in past] == [False, True, False]


def test_small_shifts_there_and_back_are_no_move():
    event, past = moved(make_event(), (), 2 * HOUR)
    event, past = moved(event, past, -2 * HOUR)
    assert full_refund_until(event, past) is None
    event, past = moved(event, past, -2 * HOUR)
    assert full_refund_until(event, past) is not None, "four hours before the start that was promised in between"


def test_a_correction_into_the_past_gives_no_right():
    event, past = moved(make_event(), (), -20 * DAY)
    assert full_refund_until(event, past) is None


def test_a_ticket_of_a_cancelled_event_is_refunded_in_full():
    sold = make_sold(make_event(starts_in=HOUR, status=EventStatus.CANCELLED))
    assert sold.refund_at(NOW).percent == 100


tiers = st.lists(
    st.builds(RefundTier, st.integers(0, 40), st.integers(0, 100)), max_size=4, unique_by=lambda tier: tier.days_before
).map(tuple)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Kolkata"])
minutes = st.integers(-60 * 24 * 20, 60 * 24 * 60).map(lambda count: timedelta(minutes=count))
changes = st.fixed_dictionaries(
    {}, optional={"refund_tiers": tiers, "start_time": minutes, "end_time": minutes, "time_zone": zones}
)


@given(tiers, zones, st.integers(0, 10_000), st.lists(st.tuples(changes, minutes.map(abs)), max_size=8), st.data())
def test_no_sequence_of_changes_lowers_a_refund_below_the_terms_at_purchase(tiers, zone, price, sequence, data):
    event = make_event(starts_in=30 * DAY, refund_tiers=tiers, time_zone=zone)
    versions: list[tuple[Event, datetime]] = [(event, NOW)]
    past: list[PastTerms] = []
    now = NOW
    for change, wait in sequence:
        now += wait
        fields = {name: NOW + 30 * DAY + to if isinstance(to, timedelta) else to for name, to in change.items()}
        event, past = changed(event, past, now, **fields)
        versions.append((event, now))
    bought, bought_at = data.draw(st.sampled_from(versions))
    later = [terms for terms in past if terms.replaced_after(bought.version, bought_at)]
    cancelled = now + abs(data.draw(minutes))
    owed = refund_owed(price, event, later, cancelled)
    for promised in (bought, event):
        least = refund(price, promised.refund_tiers, promised.start_time, promised.time_zone, cancelled)
        assert owed.amount >= least.amount
    assert owed.amount <= price
