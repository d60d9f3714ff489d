"""The hours of events that calendars get wrong: `python -m tests.selling.zones` reads all of them back, in all zones.

For every zone of tzdata: both changes of the clocks, New Year, 29 February, and the same in a year in which the rule of
the zone changed.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from tests.selling.calendars import entry_of, hours_read
from tests.selling.rows import make_event, make_sold

# In these years, rules of some zones changed: of Kazakhstan and Greenland, of Paraguay and Aysén.
CHANGED_YEARS: Final = (2024, 2025)
YEAR: Final = 2027
AROUND: Final = (timedelta(minutes=30), timedelta(hours=3))


def hard_hours(zone_name: str) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end of events around the hard moments of a zone."""
    moments = [
        *changes_of(zone_name, YEAR),
        local(zone_name, YEAR + 1, 1, 1),
        local(zone_name, YEAR + 1, 2, 29),
        *(change for year in CHANGED_YEARS for change in changes_of(zone_name, year)),
    ]
    for moment in moments:
        for around in AROUND:
            yield moment - around, moment + around
        # Within the repeated hour, and up to the missing one.
        yield moment, moment + AROUND[0]
        yield moment - AROUND[0], moment


def local(zone_name: str, *when: int) -> datetime:
    """Return a local time in UTC."""
    return datetime(*when, tzinfo=ZoneInfo(zone_name)).astimezone(UTC)  # type: ignore[arg-type, misc]  # year, month, day


def changes_of(zone_name: str, year: int) -> list[datetime]:
    """Return the times in UTC at which the offset of a zone changes within a year."""
    zone = ZoneInfo(zone_name)
    begin = datetime(year, 1, 1, tzinfo=UTC)
    days = [begin + timedelta(days=n) for n in range(367)]
    changes = []
    for day, after in pairwise(days):
        if day.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            steps = [day + timedelta(minutes=15 * n) for n in range(97)]
            changes += [
                step
                for before, step in pairwise(steps)
                if before.astimezone(zone).utcoffset() != step.astimezone(zone).utcoffset()
            ]
    return changes


def main() -> int:
    """Compare all zones; return 1 if a program read other hours."""
    events = wrong = 0
    for zone_name in sorted(available_timezones()):
        for starts, ends in hard_hours(zone_name):
            event = make_event(start_time=starts, end_time=ends, doors_open_time=None, time_zone=zone_name)
            events += 1
            if (found := hours_read(entry_of(make_sold(event)))) != {(starts, ends)}:
                wrong += 1
                print(zone_name, starts, ends, found)
    print(f"{len(available_timezones())} zones, {events} events, {wrong} read wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
