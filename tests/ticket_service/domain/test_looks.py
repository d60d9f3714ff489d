"""A look reads three listings from a time on that leaves no record out."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

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
