"""The looks at a provider's listings: which listing, which page, and from which time on.

A look reads three listings. Most looks are incremental: they read what was created since the look before. Once a day,
and after a restore, a look reads the whole window, because old records change too: refunds fail late, disputes are
decided late. The progress is stored after each page, so a crash repeats one page.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

# An incremental look repeats the records of this time before the look before: the provider's clock may differ, and an
# intent may be captured some time after its creation.
OVERLAP: Final = timedelta(hours=2)
WHOLE_INTERVAL: Final = timedelta(days=1)
# Banks accept disputes up to 120 days after the payment; the decision may take as long again.
DISPUTE_WINDOW: Final = timedelta(days=240)
RESTART_FAILURES: Final = 10


class Listing(StrEnum):
    """A listing of the provider."""

    CHARGES = "CHARGES"
    REFUNDS = "REFUNDS"
    DISPUTES = "DISPUTES"


ORDER: Final = tuple(Listing)


@dataclass(frozen=True, slots=True)
class LookSettings:
    """The interval of looks, and the age up to which payments and refunds are looked at."""

    interval: timedelta
    window: timedelta


@dataclass(frozen=True, slots=True)
class Look:
    """The progress of the looks at one provider."""

    provider: str
    # The next step is due then; a process that works on it moves the time.
    due_time: datetime
    # None: no look is under way.
    begin_time: datetime | None = None
    listing: Listing = Listing.CHARGES
    # The last record of the page before; None: the first page is next.
    after: str | None = None
    # The creation time from which this look reads; for disputes `DISPUTE_WINDOW` replaces the window.
    since: datetime | None = None
    is_whole: bool = False
    # The begin of the last look, and of the last whole look, that ended.
    success_time: datetime | None = None
    whole_success_time: datetime | None = None
    # The epoch of the feed at the last whole look: it changes when the database is restored.
    epoch: UUID | None = None
    # Steps that failed since the last success.
    failures: int = 0


def begin(look: Look, epoch: UUID, now: datetime, settings: LookSettings) -> Look:
    """Return the first step of a new look."""
    whole_before = look.whole_success_time
    is_whole = (
        look.success_time is None or whole_before is None or look.epoch != epoch or now - whole_before >= WHOLE_INTERVAL
    )
    since = now - settings.window if is_whole or look.success_time is None else look.success_time - OVERLAP
    return replace(
        look, begin_time=now, listing=ORDER[0], after=None, since=since, is_whole=is_whole, epoch=epoch, due_time=now
    )


def since_of(look: Look) -> datetime:
    """Return the creation time from which the present listing is read."""
    begin_time, since = look.begin_time, look.since
    if begin_time is None or since is None:
        raise ValueError("no look is under way")
    if look.listing is Listing.DISPUTES and look.is_whole:
        return min(since, begin_time - DISPUTE_WINDOW)
    return since


def advance(look: Look, after: str | None, now: datetime, settings: LookSettings) -> Look:
    """Return the step after a page; `after` is the last record of the page, None if it was the last page."""
    if after is not None:
        return replace(look, after=after, due_time=now, failures=0)
    following = ORDER[ORDER.index(look.listing) + 1 :]
    if following:
        return replace(look, listing=following[0], after=None, due_time=now, failures=0)
    return replace(
        look,
        begin_time=None,
        after=None,
        due_time=now + settings.interval,
        success_time=look.begin_time,
        whole_success_time=look.begin_time if look.is_whole else look.whole_success_time,
        failures=0,
    )


def postpone(look: Look, now: datetime, wait: timedelta) -> Look:
    """Return the same step at a later time, after a failure; after many failures in a row, the look begins anew."""
    failures = look.failures + 1
    # The last record of the page before may have been deleted at the provider, and then no repetition succeeds.
    begin_time = None if failures % RESTART_FAILURES == 0 else look.begin_time
    return replace(look, failures=failures, due_time=now + wait, begin_time=begin_time)
