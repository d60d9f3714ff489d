"""Dates, times, amounts and names of zones as people read them, by the Unicode CLDR."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final
from unicodedata import bidirectional

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_timezone_gmt, get_timezone_name
from babel.numbers import format_currency

from ticket_service.domain.currencies import decimals
from ticket_service.domain.zones import zone_of

# The conventions of a language without a region. CLDR reads "en" as American English, which has months before days.
_REGIONS: Final = {"en": "en_GB"}


# The classes of characters that are written from right to left, or in numbers among them.
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})


class Formats:
    """The conventions of one language, and of a region where the tag names one.

    Args:
        tag: a normalised BCP 47 tag; a language that CLDR does not have gets the conventions of English.
    """

    def __init__(self, tag: str) -> None:
        self.locale = locale_of(tag)

    @property
    def direction(self) -> str:
        """Return `ltr` or `rtl`, as HTML writes it."""
        return self.locale.text_direction

    def isolated(self, text: str) -> str:
        """Return a foreign text, such as a name, whose direction does not reorder the text around it.

        Only where the directions can differ, because some old programs show isolates as boxes.
        """
        is_needed = self.direction == "rtl" or any(bidirectional(one) in _RIGHT_TO_LEFT for one in text)
        return f"\u2068{text}\u2069" if is_needed and text else text

    def day(self, day: date) -> str:
        """Format a day with its weekday."""
        return format_date(day, "full", self.locale)

    def time(self, time: datetime) -> str:
        """Format the time of a day, in the zone of `time`."""
        return format_time(time, "short", tzinfo=time.tzinfo, locale=self.locale)

    def moment(self, time: datetime, zone_name: str) -> str:
        """Format a time in the local time of the event."""
        local = time.astimezone(zone_of(zone_name, time))
        return f"{self._day_and_time(local)} ({self._zone(local)})"

    def period(self, starts: datetime, ends: datetime, zone_name: str) -> str:
        """Format a period in the local time of the event.

        Where the clocks change within the period, or the local time occurs twice, each time has its offset.
        """
        zone = zone_of(zone_name, starts, ends)
        starts, ends = starts.astimezone(zone), ends.astimezone(zone)
        until = self.time(ends) if ends.date() == starts.date() else self._day_and_time(ends)
        between: str = self.locale.interval_formats[None]
        if starts.utcoffset() != ends.utcoffset() or _occurs_twice(starts) or _occurs_twice(ends):
            return between.format(
                f"{self._day_and_time(starts)} ({self._offset(starts)})", f"{until} ({self._offset(ends)})"
            )
        return f"{between.format(self._day_and_time(starts), until)} ({self._zone(starts)})"

    def amount(self, currency: str, minor_units: int) -> str:
        """Format an amount of money."""
        digits = decimals(currency)
        # CLDR has fewer digits than ISO 4217 for some currencies, and would round the amount.
        pattern = self.locale.currency_formats["standard"].pattern
        pattern = pattern.replace("0.00", f"0.{'0' * digits}" if digits else "0")
        units = Decimal(minor_units).scaleb(-digits)
        return format_currency(units, currency, pattern, self.locale, currency_digits=False)

    def _day_and_time(self, time: datetime) -> str:
        pattern: str = self.locale.datetime_formats["medium"].replace("'", "")
        return pattern.replace("{0}", self.time(time)).replace("{1}", self.day(time.date()))

    def _zone(self, time: datetime) -> str:
        if time.tzinfo is UTC:
            return "UTC"
        return self._offset(time) if _occurs_twice(time) else get_timezone_name(time, "long", locale=self.locale)

    def _offset(self, time: datetime) -> str:
        return get_timezone_gmt(time, "long", self.locale)


def locale_of(tag: str) -> Locale:
    """Return the CLDR locale of a tag, or of the longest part of the tag that has one."""
    subtags = tag.split("-")
    while subtags:
        name = "_".join(subtags)
        try:
            return Locale.parse(_REGIONS.get(name, name))
        except (ValueError, UnknownLocaleError):
            subtags.pop()
    return Locale.parse(_REGIONS["en"])


def _occurs_twice(time: datetime) -> bool:
    return time.utcoffset() != time.replace(fold=1 - time.fold).utcoffset()
