"""Find the rules of a time zone for the years around a time, as calendars understand them (RFC 5545, section 3.6.5).

Some calendar programs misread a zone that is given as a list of dates, and a program without data for a zone has nothing
but these rules. A zone whose changes follow no yearly rule in these years has none, such as one with changes in Ramadan:
its times are then written in UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from ticket_service.domain.zones import RULED_YEARS

WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
# Programs keep the rules of a zone, so a rule that holds for long is tried first.
_YEARS_AHEAD: Final = (10, 1)
# No zone changes twice within this time.
_STEP: Final = timedelta(days=7)
_WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class Observance:
    """One offset of a zone, and the rule by which it begins every year."""

    # The first beginning, in the local time before it.
    begins: datetime
    offset_before: timedelta
    offset: timedelta
    # The larger one of two offsets.
    is_daylight: bool
    name: str
    # A recurrence rule without its "RRULE:"; "": the offset never changes.
    rule: str


@lru_cache(maxsize=1024)
def rules_of(zone_name: str, year: int) -> tuple[Observance, ...]:
    """Return the observances of a zone that hold from the begin of the year before to the end of the year after.

    The result is empty if the zone has no yearly rule in these years.
    """
    if year - 1 not in RULED_YEARS or year + 1 not in RULED_YEARS:
        return ()
    zone = ZoneInfo(zone_name)
    begin = datetime(year - 1, 1, 1, tzinfo=UTC)
    for ahead in _YEARS_AHEAD:
        changes = _changes(zone, begin, datetime(year + ahead + 1, 1, 1, tzinfo=UTC))
        if not changes:
            return (_unchanging(begin.astimezone(zone)),)
        found = [_observance(zone, changes[first::2], ahead + 2) for first in (0, 1)]
        if None not in found:
            return tuple([one for one in found if one is not None])
    return ()


def _unchanging(local: datetime) -> Observance:
    # A date long ago, because the offset holds for all times that the rules are for.
    begins = datetime(1970, 1, 1)  # noqa: DTZ001 - a local time
    return Observance(begins, _offset(local), _offset(local), is_daylight=False, name=_name(local), rule="")


def is_in_doubt(local: datetime) -> bool:
    """Return whether the clocks of a zone show a local time twice, or never."""
    return _offset(local) != _offset(local.replace(fold=1 - local.fold))


def _changes(zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Return the changes of the offset, each as the first second in UTC with the new one."""
    found = []
    time, offset = begin, _offset(begin.astimezone(zone))
    while time < end:
        later = min(time + _STEP, end)
        if (changed := _offset(later.astimezone(zone))) != offset:
            found.append(_first_second(zone, time, later))
        time, offset = later, changed
    return found


def _first_second(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    changed = _offset(after.astimezone(zone))
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if _offset(middle.astimezone(zone)) == changed:
            after = middle
        else:
            before = middle
    return after


def _observance(zone: ZoneInfo, changes: Sequence[datetime], years: int) -> Observance | None:
    """Return the observance of changes that follow one rule, one in each of `years`, or None."""
    offsets = {(_before(zone, change), _offset(change.astimezone(zone))) for change in changes}
    if len(changes) != years or len(offsets) != 1:
        return None
    [(before, offset)] = offsets
    # RFC 5545 counts in the local time before the change.
    local = [change.replace(tzinfo=None) + before for change in changes]
    rule = _rule(local)
    if rule is None:
        return None
    return Observance(local[0], before, offset, offset > before, _name(changes[0].astimezone(zone)), rule)


def _rule(local: Sequence[datetime]) -> str | None:
    """Return the rule of one change in each year: a weekday of a month at a time of the day."""
    is_yearly = len({time.year for time in local}) == len(local)
    if not is_yearly or len({(time.month, time.weekday(), time.time()) for time in local}) != 1:
        return None
    month, weekday = local[0].month, WEEKDAYS[local[0].weekday()]
    days = [time.day for time in local]
    if all((time + timedelta(days=_WEEK)).month != month for time in local):
        return f"FREQ=YEARLY;BYMONTH={month};BYDAY=-1{weekday}"
    if len(weeks := {(day - 1) // _WEEK for day in days}) == 1:
        return f"FREQ=YEARLY;BYMONTH={month};BYDAY={weeks.pop() + 1}{weekday}"
    if max(days) - min(days) < _WEEK:
        # Such as the Friday before the last Sunday: seven days contain exactly one.
        month_days = ",".join(str(day) for day in range(min(days), min(days) + _WEEK))
        return f"FREQ=YEARLY;BYMONTH={month};BYDAY={weekday};BYMONTHDAY={month_days}"
    return None


def _before(zone: ZoneInfo, change: datetime) -> timedelta:
    return _offset((change - timedelta(seconds=1)).astimezone(zone))


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset()
    return timedelta() if offset is None else offset


def _name(local: datetime) -> str:
    return local.tzname() or "LT"
