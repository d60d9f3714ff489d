"""Tests of the days of an event."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.scanning.cases import EVENT
from ticketing.admission.days import is_new_day, zone_of
from ticketing.admission.tickets import AdmissionPolicy, Event

BERLIN = ZoneInfo("Europe/Berlin")
SECOND = timedelta(seconds=1)


def festival(policy: AdmissionPolicy = AdmissionPolicy.ONCE_PER_DAY, hour: int | None = None) -> Event:
    return replace(EVENT, policy=policy, time_zone="Europe/Berlin", day_change_hour=hour)


def local(day: int, hour: int, minute: int = 0) -> datetime:
    """Return a time by the clocks of the festival, as the service has it."""
    return datetime(2026, 7, day, hour, minute, tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(("hour", "change"), [(None, 4), (0, 0), (6, 6), (23, 23)])
def test_a_day_begins_at_the_hour_of_change_in_the_zone_of_the_event(hour, change):
    begin = local(2, change)
    assert is_new_day(festival(hour=hour), begin - SECOND, begin)
    assert not is_new_day(festival(hour=hour), begin, begin + timedelta(days=1) - SECOND)
    assert is_new_day(festival(hour=hour), begin, begin + timedelta(days=1))


def test_a_night_belongs_to_the_day_on_which_it_began():
    assert not is_new_day(festival(), local(1, 18), local(2, 3, 59))
    assert is_new_day(festival(), local(2, 3, 59), local(2, 12))


def test_an_earlier_day_is_not_a_new_one():
    assert not is_new_day(festival(), local(2, 12), local(1, 12))


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, 4, tzinfo=BERLIN), datetime(2026, 10, 25, 4, tzinfo=BERLIN)])
def test_the_change_to_and_from_summer_time_does_not_move_the_hour(day):
    begin = day.astimezone(UTC)
    assert is_new_day(festival(), begin - SECOND, begin)
    evening = begin - timedelta(hours=8)
    assert not is_new_day(festival(), evening, begin - SECOND)


@pytest.mark.parametrize("policy", [AdmissionPolicy.SINGLE_ENTRY, AdmissionPolicy.UNLIMITED])
def test_days_do_not_matter_under_other_policies(policy):
    assert not is_new_day(festival(policy, 4), local(1, 12), local(9, 12))


def test_days_matter_under_re_entry_only_with_an_hour_of_change():
    assert not is_new_day(festival(AdmissionPolicy.RE_ENTRY), local(1, 12), local(2, 12))
    assert is_new_day(festival(AdmissionPolicy.RE_ENTRY, 4), local(1, 12), local(2, 12))


@pytest.mark.parametrize("name", ["Moon/Tycho", "", "../etc/passwd", "\0"])
def test_an_unknown_zone_is_read_as_utc(name):
    assert zone_of(name) is UTC


def test_times_at_the_ends_of_the_calendar_have_a_day():
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert is_new_day(festival(), first, last)
    assert not is_new_day(festival(), last, first)
