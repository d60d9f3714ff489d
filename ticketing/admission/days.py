"""The days of an event that lasts several days, by its own time zone and hour of change."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from ticketing.admission.tickets import AdmissionPolicy, Event

# The hour at which a day of the event begins under ONCE_PER_DAY, unless the event sets another one. A night ends later
# than midnight.
DEFAULT_CHANGE_HOUR: Final = 4


@lru_cache(1_000)
def zone_of(name: str) -> tzinfo:
    """Return a time zone; UTC for a name that this machine does not have, such as one of a newer service."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def change_hour_of(event: Event) -> int | None:
    """Return the hour at which a day of the event begins; None where days do not matter.

    Days matter under ONCE_PER_DAY, and under RE_ENTRY if the event has an hour of change.
    """
    if event.policy is AdmissionPolicy.ONCE_PER_DAY:
        return DEFAULT_CHANGE_HOUR if event.day_change_hour is None else event.day_change_hour
    return event.day_change_hour if event.policy is AdmissionPolicy.RE_ENTRY else None


def is_new_day(event: Event, before: datetime, time: datetime) -> bool:
    """Return whether `time` is on a later day of the event than `before`, and days matter at the event."""
    hour = change_hour_of(event)
    if hour is None:
        return False
    zone = zone_of(event.time_zone)
    return _day(time, zone, hour) > _day(before, zone, hour)


def _day(time: datetime, zone: tzinfo, hour: int) -> date:
    """Return the day by the clock on the wall, so that a day with a change to summer time begins at the same hour."""
    try:
        return (time.astimezone(zone).replace(tzinfo=None) - timedelta(hours=hour)).date()
    except OverflowError:
        # A device whose clock is wrong uploads any year.
        return time.date()
