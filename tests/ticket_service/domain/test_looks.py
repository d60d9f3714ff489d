"""A look reads three listings from a time on that leaves no record out."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.looks import (
    DISPUTE_WINDOW,
    OVERLAP,
    RESTART_FAILURES,
    WHOLE_INTERVAL,
    Listing,
    Look,
    LookSettings,
    advance,
    begin,
    postpone,
    since_of,
)

SETTINGS = LookSettings(interval=timedelta(minutes=5), window=timedelta(days=35))
EPOCH = uuid4()
FIRST = begin(Look("stripe", NOW), EPOCH, NOW, SETTINGS)


def test_looks_overlap_by_two_hours_and_are_whole_once_a_day() -> None:
    assert (timedelta(hours=2), timedelta(days=1)) == (OVERLAP, WHOLE_INTERVAL)
    # Banks accept disputes for 120 days, and decide for as long.
    assert timedelta(days=240) == DISPUTE_WINDOW


def ended(look: Look) -> Look:
    while look.begin_time is not None:
        look = advance(look, None, look.begin_time, SETTINGS)
    return look


def test_the_first_look_reads_the_whole_window_page_by_page() -> None:
    assert (FIRST.is_whole, FIRST.listing, since_of(FIRST)) == (True, Listing.CHARGES, NOW - timedelta(days=35))
    second = advance(FIRST, "pi_100", NOW, SETTINGS)
    assert (second.listing, second.after, second.due_time) == (Listing.CHARGES, "pi_100", NOW)
    refunds = advance(second, None, NOW, SETTINGS)
    assert (refunds.listing, refunds.after) == (Listing.REFUNDS, None)
    disputes = advance(refunds, None, NOW, SETTINGS)
    assert since_of(disputes) == NOW - DISPUTE_WINDOW


def test_the_next_look_reads_what_is_new_since_the_begin_of_the_last() -> None:
    before = ended(FIRST)
    assert (before.success_time, before.due_time) == (NOW, NOW + SETTINGS.interval)
    look = begin(before, EPOCH, NOW + SETTINGS.interval, SETTINGS)
    assert (look.is_whole, since_of(look)) == (False, NOW - OVERLAP)
    assert since_of(replace(look, listing=Listing.DISPUTES)) == NOW - OVERLAP


def test_a_day_later_and_after_a_restore_everything_is_read_again() -> None:
    before = ended(FIRST)
    assert begin(before, EPOCH, NOW + WHOLE_INTERVAL, SETTINGS).is_whole
    restored = begin(before, uuid4(), NOW + SETTINGS.interval, SETTINGS)
    assert restored.is_whole
    # The restore counts once.
    assert not begin(ended(restored), restored.epoch or EPOCH, NOW + 2 * SETTINGS.interval, SETTINGS).is_whole


def test_a_failed_step_is_repeated_and_after_many_the_look_begins_anew() -> None:
    look = advance(FIRST, "pi_100", NOW, SETTINGS)
    for number in range(1, RESTART_FAILURES):
        look = postpone(look, NOW, timedelta(seconds=number))
        assert (look.after, look.due_time) == ("pi_100", NOW + timedelta(seconds=number))
    assert postpone(look, NOW, timedelta(seconds=60)).begin_time is None


def test_a_look_begins_with_the_charges_of_the_window() -> None:
    stopped = replace(FIRST, listing=Listing.DISPUTES, after="dp_1", begin_time=None)
    anew = begin(stopped, EPOCH, NOW + timedelta(hours=1), SETTINGS)
    assert (anew.listing, anew.after, anew.epoch) == (Listing.CHARGES, None, EPOCH)
    assert (anew.begin_time, anew.due_time) == (NOW + timedelta(hours=1),) * 2
    assert anew.since == NOW + timedelta(hours=1) - SETTINGS.window


def test_without_a_whole_look_that_ended_the_next_one_is_whole() -> None:
    before = ended(FIRST)
    for missing in (replace(before, whole_success_time=None), replace(before, success_time=None)):
        look = begin(missing, EPOCH, NOW + SETTINGS.interval, SETTINGS)
        assert (look.is_whole, look.since) == (True, NOW + SETTINGS.interval - SETTINGS.window)


def test_an_incremental_look_is_no_whole_one() -> None:
    later = NOW + SETTINGS.interval
    after = ended(begin(ended(FIRST), EPOCH, later, SETTINGS))
    assert (after.success_time, after.whole_success_time) == (later, NOW)
    assert begin(after, EPOCH, NOW + WHOLE_INTERVAL - timedelta(microseconds=1), SETTINGS).is_whole is False


@pytest.mark.parametrize("missing", [{"begin_time": None}, {"since": None}])
def test_nothing_is_read_between_two_looks(missing) -> None:
    with pytest.raises(ValueError, match="no look"):
        since_of(replace(FIRST, **missing))


@pytest.mark.parametrize("listing", Listing)
def test_a_page_that_was_read_ends_a_row_of_failures(listing) -> None:
    failed = replace(FIRST, listing=listing, failures=7)
    assert [advance(failed, after, NOW, SETTINGS).failures for after in ("pi_9", None)] == [0, 0]


def test_every_tenth_failure_in_a_row_begins_the_look_anew() -> None:
    assert RESTART_FAILURES == 10
    look, anew = FIRST, []
    for number in range(1, 21):
        look = postpone(look, NOW, timedelta(seconds=1))
        assert look.failures == number
        if look.begin_time is None:
            anew.append(number)
            look = begin(look, EPOCH, NOW, SETTINGS)
    assert anew == [10, 20]
