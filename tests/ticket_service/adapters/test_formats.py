from datetime import UTC, datetime, timedelta

import pytest

from ticket_service.adapters.formats import Formats

# CLDR writes narrow and no-break spaces, and dashes.
PLAIN = str.maketrans({"\u2009": " ", "\u202f": " ", "\xa0": " ", "\u2013": "-", "\uff5e": "-", "\u2019": "'"})
START = datetime(2027, 3, 27, 19, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tag", "period"),
    [
        ("en", "Saturday, 27 March 2027, 20:00 - 23:00 (Central European Standard Time)"),
        ("en-US", "Saturday, March 27, 2027, 8:00 PM - 11:00 PM (Central European Standard Time)"),
        ("de", "Samstag, 27. März 2027, 20:00 - 23:00 (Mitteleuropäische Normalzeit)"),
        ("de-CH-1996", "Samstag, 27. März 2027, 20:00 - 23:00 (Mitteleuropäische Normalzeit)"),
        ("ja", "2027年3月27日土曜日 20:00-23:00 (中央ヨーロッパ標準時)"),
        ("tlh", "Saturday, 27 March 2027, 20:00 - 23:00 (Central European Standard Time)"),
    ],
)
def test_a_period_is_written_as_its_language_writes_it(tag, period):
    assert Formats(tag).period(START, START + timedelta(hours=3), "Europe/Berlin").translate(PLAIN) == period


def test_a_period_over_midnight_names_both_days():
    period = Formats("de").period(START, START + timedelta(hours=5), "UTC")
    assert period.translate(PLAIN) == "Samstag, 27. März 2027, 19:00 - Sonntag, 28. März 2027, 00:00 (UTC)"


def test_times_around_a_clock_change_have_their_offsets():
    over = Formats("de").period(START, START + timedelta(hours=12), "Europe/Berlin")
    assert (
        over.translate(PLAIN) == "Samstag, 27. März 2027, 20:00 (GMT+01:00) - Sonntag, 28. März 2027, 09:00 (GMT+02:00)"
    )
    # The second pass of the hour that the clocks repeat.
    again = datetime(2027, 10, 31, 1, 10, tzinfo=UTC)
    within = Formats("de").period(again, again + timedelta(minutes=20), "Europe/Berlin")
    assert within.translate(PLAIN) == "Sonntag, 31. Oktober 2027, 02:10 (GMT+01:00) - 02:30 (GMT+01:00)"
    first = Formats("en").moment(again - timedelta(hours=1), "Europe/Berlin")
    assert first == "Sunday, 31 October 2027, 02:10 (GMT+02:00)"


@pytest.mark.parametrize(
    ("tag", "currency", "minor_units", "amount"),
    [
        ("en", "EUR", 123_450, "€1,234.50"),
        ("en", "USD", 123_450, "US$1,234.50"),
        ("en-US", "USD", 123_450, "$1,234.50"),
        ("de", "EUR", 123_450, "1.234,50 €"),
        ("de-CH", "CHF", 123_450, "CHF 1'234.50"),
        ("ja", "JPY", 1_234, "￥1,234"),
        # CLDR shows no decimals of these currencies.
        ("en", "COP", 123_450, "COP1,234.50"),
        ("en", "KWD", 1_234, "KWD1.234"),
        ("en", "EUR", 2**53 + 1, "€90,071,992,547,409.93"),
    ],
)
def test_amounts_keep_every_digit_of_the_currency(tag, currency, minor_units, amount):
    assert Formats(tag).amount(currency, minor_units).translate(PLAIN) == amount


@pytest.mark.parametrize(("tag", "direction"), [("ar", "rtl"), ("he-IL", "rtl"), ("de", "ltr"), ("", "ltr")])
def test_the_direction_is_that_of_the_script(tag, direction):
    assert Formats(tag).direction == direction
