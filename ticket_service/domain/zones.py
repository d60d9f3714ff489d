"""Time zones of events."""

from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

# Outside these years calendars have no rules of zones, and a date may exceed Python's range of years.
RULED_YEARS: Final = range(1971, 2500)


def zone_of(name: str, *times: datetime) -> tzinfo:
    """Return the named zone, or UTC if the zone has no rules for the times."""
    return ZoneInfo(name) if name != "UTC" and all(time.year in RULED_YEARS for time in times) else UTC
