"""Serve the feed: the present state of the events and tickets that gates need, after any cursor.

The feed is state, not a log. A cursor is the last revision of each event that its reader has received; the feed sends
the present state of every ticket that changed after it. Revisions are taken under the event's row lock, so they commit
in order and no change can appear before a cursor.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from time import monotonic
from typing import Final
from uuid import UUID

from prometheus_client import Gauge
from sqlalchemy.engine import Connection

from ticket_service.domain.feed import Page
from ticket_service.store import feed as store
from ticket_service.use_cases.recovery_guard import RecoveryGuard
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.tasks import BackgroundTask, Essential, Tasks

POLL_SECONDS: Final = 0.1
# The minimum time between two polls, however often a busy process wakes the poller.
REST_SECONDS: Final = 0.05
MAX_BACKOFF_SECONDS: Final = 2.0
# The time without a poll after which this process is not ready.
SILENT_SECONDS: Final = 8.0
# Events that ended longer ago hardly change: only one in POLLS_PER_FULL_POLL polls reads them.
LIVE_AFTER_END: Final = timedelta(days=1)
POLLS_PER_FULL_POLL: Final = 100
NOTE_INTERVAL: Final = timedelta(seconds=5)
PAGE_TICKETS: Final = 1_000
# The bounds of one transaction, which bound the memory; one event alone may exceed the bound of tickets. With a hundred
# events on sale, a bound of sixteen events made seven transactions for the few sales of each poll.
GROUP_EVENTS: Final = 256
GROUP_TICKETS: Final = 8_000
# The value precedes the first revision, so that the feed sends an event without tickets too.
BEGINNING: Final = -1


FOLLOWERS: Final = Gauge("ticketing_feed_followers", "Streams of the feed that scan services have open.")
LAG_REVISIONS: Final = Gauge(
    "ticketing_feed_lag_revisions", "Changes that the slowest follower of the feed has not been sent."
)
LAG_SECONDS: Final = Gauge(
    "ticketing_feed_lag_seconds", "Time since a follower of the feed was last sent everything; 0: nothing is left."
)


class _Watcher:
    """The cursor of one reader, and the events that may have changes after it."""

    def __init__(self, cursors: Mapping[UUID, int]) -> None:
        self.cursors = dict(cursors)
        self.has_changes = asyncio.Event()
        # The last known revision of each event: bounded by the number of events, not of changes.
        self._behind: dict[UUID, int] = {}
        # The monotonic time since which changes have been left; None: none is left.
        self.behind_since: float | None = None

    def note(self, heads: Mapping[UUID, int]) -> None:
        self._behind.update({event_id: head for event_id, head in heads.items() if head > self.cursor(event_id)})
        if self._behind:
            self.has_changes.set()
            if self.behind_since is None:
                self.behind_since = monotonic()

    def lag(self) -> int:
        """Return the number of changes that are left; the thread of the metrics calls this."""
        return sum(head - self.cursor(event_id) for event_id, head in self._behind.copy().items())

    def seems_beyond(self, heads: Mapping[UUID, int]) -> bool:
        """Return whether the reader has a later revision of an event than these."""
        return any(self.cursor(event_id) > head for event_id, head in heads.items())

    def cursor(self, event_id: UUID) -> int:
        return self.cursors.get(event_id, BEGINNING)

    def take(self) -> dict[UUID, int]:
        """Remove the next events to read, older events first; return their cursors."""
        taken: dict[UUID, int] = {}
        room = GROUP_TICKETS
        for event_id in sorted(self._behind):
            cursor = self.cursor(event_id)
            # Each revision changes one ticket or the event.
            room -= min(self._behind[event_id] - cursor, PAGE_TICKETS)
            if taken and (room < 0 or len(taken) == GROUP_EVENTS):
                break
            taken[event_id] = cursor
            del self._behind[event_id]
        return taken

    def advance(self, page: Page) -> bool:
        """Move the cursor past `page`; return whether the page was new."""
        event_id = page.event.event_id
        is_new = page.revision > self.cursor(event_id)
        self.cursors[event_id] = page.revision
        if page.is_cut:
            self._behind[event_id] = page.revision + PAGE_TICKETS
        elif self._behind.get(event_id, BEGINNING) <= page.revision:
            # The change was noted while this page was read; another read would find nothing new.
            self._behind.pop(event_id, None)
        return is_new


class Feed:
    """The watchers of this process and the one poller that serves them."""

    def __init__(self, database: Database, clock: Clock, guard: RecoveryGuard) -> None:
        self._guard = guard
        self._database = database
        self._clock = clock
        self._watchers: set[_Watcher] = set()
        self._heads: dict[UUID, int] = {}
        # The last sent change of each event. Changes of one event commit in order: as long as the database has this one,
        # it has all before it, also where sales after a failover have passed every cursor.
        self._last_sent: dict[UUID, tuple[UUID, int]] = {}
        self._is_draining = False
        self._polls = 0
        self._poller: BackgroundTask | None = None
        # The last time at which a reader was recorded.
        self._noted: datetime | None = None
        FOLLOWERS.set_function(self._watchers.__len__)
        LAG_REVISIONS.set_function(lambda: max((one.lag() for one in self._watchers.copy()), default=0))
        LAG_SECONDS.set_function(self._lag_seconds)

    def start(self, tasks: Tasks) -> None:
        """Start the poller. A process whose poller fails sends no changes, so its readers need another process."""
        essential = Essential(SILENT_SECONDS, excuses_outages=True)
        self._poller = tasks.new("feed", self._poll_watched, POLL_SECONDS, essential, MAX_BACKOFF_SECONDS)
        self._poller.start()
        self._guard.on_begin = self._notify_all

    def wake(self) -> None:
        """Poll at once, after a commit."""
        if self._poller is not None:
            self._poller.wake()

    def drain(self) -> None:
        """End every stream; the readers continue at another process."""
        self._is_draining = True
        self._notify_all()

    def _notify_all(self) -> None:
        for watcher in self._watchers:
            watcher.has_changes.set()

    async def stop(self) -> None:
        """End every stream and the poller."""
        self.drain()
        if self._poller is not None:
            await self._poller.stop()

    async def watch(
        self, afters: Mapping[UUID, int], epoch: str, max_events: int = 1
    ) -> AsyncGenerator[tuple[str, Sequence[Page]], None]:
        """Yield the epoch and the pages of changes as they come; end when drained.

        A cursor beyond the last revision of its event, in the same epoch, proves that the database lacks changes that it
        had committed: it was restored, or a replica was promoted that had not received them. Then a recovery begins.

        Args:
            afters: the last received revision of each event.
            epoch: the epoch of the revisions; in another epoch they are invalid, and every event starts anew.
            max_events: the maximum number of pages that are yielded at once.

        Raises:
            Failure: RECOVERING.
        """
        own_epoch = await self._database.run(store.epoch)
        watcher = _Watcher(afters if epoch == own_epoch else dict.fromkeys(afters, BEGINNING))
        # The watcher is registered before the first read, so that no commit in between is missed.
        self._watchers.add(watcher)
        try:
            heads = await self._look(named=list(afters))
            if _epoch_of_database(epoch) == _epoch_of_database(own_epoch) and _is_beyond(afters, heads):
                await self._guard.report_lost_commits()
            watcher.note(heads)
            while not self._is_draining:
                self._guard.check_recovering()
                while behind := watcher.take():
                    for pages in _together(await self._read(behind), max_events):
                        if new := [page for page in pages if watcher.advance(page)]:
                            self._remember(new)
                            yield own_epoch, new
                        if self._is_draining:
                            return
                        self._guard.check_recovering()
                watcher.behind_since = None
                await watcher.has_changes.wait()
                watcher.has_changes.clear()
        finally:
            self._watchers.discard(watcher)

    def _lag_seconds(self) -> float:
        since = [one.behind_since for one in self._watchers.copy()]
        return max((monotonic() - begin for begin in since if begin is not None), default=0.0)

    async def _read(self, behind: Mapping[UUID, int]) -> list[Page]:
        sent = {event_id: self._last_sent[event_id] for event_id in behind if event_id in self._last_sent}

        def read(connection: Connection) -> tuple[bool, list[Page]]:
            return store.have_all(connection, sent), store.pages(connection, behind, PAGE_TICKETS)

        is_whole, pages = await self._database.run(read, isolation="REPEATABLE READ")
        if not is_whole:
            await self._guard.report_lost_commits()
            self._last_sent.clear()
            self._guard.check_recovering()
        return pages

    def _remember(self, sent: Sequence[Page]) -> None:
        for page in sent:
            if page.tickets:
                last = page.tickets[-1]
                self._last_sent[page.event.event_id] = (UUID(last.ticket_id), last.revision)

    async def _look(self, named: Iterable[UUID]) -> dict[UUID, int]:
        """Read the revisions of all live events and of the named events."""
        ended_after, event_ids = self._clock() - LIVE_AFTER_END, list(named)

        def look(connection: Connection) -> dict[UUID, int]:
            heads = store.live_heads(connection, ended_after)
            return heads | store.named_heads(connection, event_ids) if event_ids else heads

        return await self._database.run(look)

    async def _poll_watched(self) -> None:
        """Poll if anybody watches, then rest; where the database does not answer, each watcher fails when it reads."""
        if not self._watchers:
            self._heads.clear()
            return
        await self._poll(is_full=self._polls % POLLS_PER_FULL_POLL == 0)
        await self._note_follower()
        self._polls += 1
        await asyncio.sleep(REST_SECONDS)

    async def _note_follower(self) -> None:
        """Record every NOTE_INTERVAL that this process has a reader, for callers who ask what the gates have."""
        now = self._clock()
        if self._noted is None or not timedelta() <= now - self._noted < NOTE_INTERVAL:
            await self._database.run(lambda connection: store.note_follower(connection, now))
            self._noted = now

    async def _poll(self, *, is_full: bool) -> None:
        named = set(chain.from_iterable(watcher.cursors for watcher in self._watchers)) if is_full else set()
        heads = await self._look(named)
        for watcher in list(self._watchers):
            if watcher.seems_beyond(heads):
                # A stream may have read further than this look, so only a second look proves it.
                cursors = {event_id: after for event_id, after in watcher.cursors.items() if after != BEGINNING}
                if _is_beyond(cursors, await self._look(named=cursors)):
                    await self._guard.report_lost_commits()
        changed = {event_id: head for event_id, head in heads.items() if self._heads.get(event_id) != head}
        self._heads.update(changed)
        for watcher in self._watchers:
            watcher.note(changed)


def _epoch_of_database(epoch: str) -> str:
    """Return the epoch without the version of the sent fields."""
    return epoch.partition(".")[0]


def _is_beyond(cursors: Mapping[UUID, int], heads: Mapping[UUID, int]) -> bool:
    """Return whether a cursor is beyond the last revision of its event, or of an event that does not exist."""
    return any(after > heads.get(event_id, BEGINNING) for event_id, after in cursors.items())


def _together(pages: Sequence[Page], max_events: int) -> Iterator[Sequence[Page]]:
    """Group pages, in their order, into the messages to send.

    While a process sells, each iteration of its event loop takes some milliseconds, and each message waits for one: a
    hundred events on sale, each in a message of its own, took 100 to 375 ms.
    """
    together, tickets = list[Page](), 0
    for page in pages:
        tickets += len(page.tickets)
        if together and (len(together) == max_events or tickets > PAGE_TICKETS):
            yield together
            together, tickets = [], len(page.tickets)
        together.append(page)
    if together:
        yield together
