from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from tests.selling.zones import changes_of
from ticket_service.domain.zone_rules import WEEKDAYS, Observance, is_in_doubt, rules_of


def test_a_zone_without_changes_has_one_offset():
    [found] = rules_of("Asia/Kathmandu", 2027)
    assert (found.offset_before, found.offset, found.rule) == (timedelta(hours=5.75), timedelta(hours=5.75), "")


@pytest.mark.parametrize(
    ("zone", "year"),
    [
        # Ramadan decides.
        ("Africa/Casablanca", 2027),
        # The rule changed in that year.
        ("Asia/Almaty", 2024),
        ("America/Asuncion", 2025),
        ("Europe/Berlin", 1971),
        ("Europe/Berlin", 2499),
    ],
)
def test_a_zone_without_a_yearly_rule_has_none(zone, year):
    assert rules_of(zone, year) == ()


def test_winter_in_dublin_is_standard_time():
    # Irish law, and with it some versions of tzdata, calls the summer standard time.
    summer, winter = rules_of("Europe/Dublin", 2027)
    assert (summer.is_daylight, summer.name) == (True, "IST")
    assert (winter.is_daylight, winter.name) == (False, "GMT")


def test_few_zones_have_no_rules():
    without = {zone for zone in available_timezones() if not rules_of(zone, 2027)}
    assert without <= {"Africa/Casablanca", "Africa/El_Aaiun", "Africa/Cairo", "Egypt", "Asia/Gaza", "Asia/Hebron"}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"])
def test_local_times_are_in_doubt_around_changes_alone(zone):
    for change in changes_of(zone, 2027):
        local = [(change + timedelta(minutes=minutes)).astimezone(ZoneInfo(zone)) for minutes in (-15, 15, -90, 90)]
        # The clocks go back.
        is_repeated = local[0].replace(tzinfo=None) >= local[1].replace(tzinfo=None)
        assert [is_in_doubt(time) for time in local] == [is_repeated, is_repeated, False, False]
    assert is_in_doubt(datetime(2027, 3, 28, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")))
    assert not is_in_doubt(datetime(2027, 3, 28, 2, 30, tzinfo=UTC))


def test_a_rule_holds_for_ten_years():
    # In the three years around 2027 it is the fourth Friday, too; programs keep the rules of a zone for longer.
    begin, _ = rules_of("Asia/Jerusalem", 2027)
    assert begin.rule == "FREQ=YEARLY;BYMONTH=3;BYDAY=FR;BYMONTHDAY=23,24,25,26,27,28,29"


HOUR = timedelta(hours=1)
LAST_SUNDAY = "FREQ=YEARLY;BYMONTH={};BYDAY=-1SU"


def test_berlin_has_summer_from_march_to_october():
    # The rules hold from the begin of the year before.
    summer, winter = datetime(2026, 3, 29, 2), datetime(2026, 10, 25, 3)  # noqa: DTZ001 - local times
    assert rules_of("Europe/Berlin", 2027) == (
        Observance(summer, HOUR, 2 * HOUR, is_daylight=True, name="CEST", rule=LAST_SUNDAY.format(3)),
        Observance(winter, 2 * HOUR, HOUR, is_daylight=False, name="CET", rule=LAST_SUNDAY.format(10)),
    )


def test_new_york_counts_the_sundays_from_the_begin_of_the_month():
    assert [one.rule for one in rules_of("America/New_York", 2027)] == [
        "FREQ=YEARLY;BYMONTH=3;BYDAY=2SU",
        "FREQ=YEARLY;BYMONTH=11;BYDAY=1SU",
    ]


def test_an_unchanging_zone_has_its_offset_since_long_ago():
    begins = datetime(1970, 1, 1)  # noqa: DTZ001 - a local time
    assert rules_of("Asia/Tokyo", 2027) == (
        Observance(begins, 9 * HOUR, 9 * HOUR, is_daylight=False, name="JST", rule=""),
    )


def test_the_first_and_the_last_years_with_rules_have_them():
    assert [one.name for one in rules_of("Asia/Tokyo", 1972)] == ["JST"]
    assert [one.name for one in rules_of("Europe/Berlin", 2498)] == ["CEST", "CET"]
    assert (rules_of("Asia/Tokyo", 1971), rules_of("Asia/Tokyo", 2499)) == ((), ())


def test_weekdays_have_the_names_of_rfc_5545():
    days = [datetime(2027, 3, day, tzinfo=UTC) for day in range(1, 8)]
    assert [WEEKDAYS[day.weekday()] for day in days] == ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
