"""The feed: the present state of whatever gates need, event by event, from any cursor on.

It is state and not a log: a cursor says up to which revision of each event its reader has come, and whoever asks for
what is after gets the latest of each ticket. Revisions are taken under the event's row lock, so they commit in order
and nothing can appear behind a reader.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.feed import Page
from ticket_service.store import feed as store
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.1
# At least so long between two looks, however often a busy process wakes us.
REST_SECONDS: Final = 0.05
# Events that ended longer ago hardly change any more: they are looked at only in every so many polls.
LIVE_AFTER_END: Final = timedelta(days=1)
POLLS_PER_FULL_POLL: Final = 100
PAGE_TICKETS: Final = 1_000
# Read in one transaction, so that memory stays small: events, and tickets, unless one event alone has more. With a hundred
# events on sale, sixteen at a time made seven transactions of each moment's few sales.
GROUP_EVENTS: Final = 256
GROUP_TICKETS: Final = 8_000
# Before the first revision, so that an event without tickets is sent too.
BEGINNING: Final = -1


class _Watcher:
    """Where one reader has come, and which events may have more for it."""

    def __init__(self, cursors: Mapping[UUID, int]) -> None:
        self.cursors = dict(cursors)
        self.news = asyncio.Event()
        # To which revision, as far as it is known; bounded by the number of events, that of the changes does not matter.
        self._behind: dict[UUID, int] = {}

    def note(self, heads: Mapping[UUID, int]) -> None:
        """Take note of events' revisions."""
        self._behind.update({event_id: head for event_id, head in heads.items() if head > self.cursor(event_id)})
        if self._behind:
            self.news.set()

    def cursor(self, event_id: UUID) -> int:
        return self.cursors.get(event_id, BEGINNING)

    def take(self) -> dict[UUID, int]:
        """Return the next events to read, each with its cursor; older events first."""
        taken: dict[UUID, int] = {}
        room = GROUP_TICKETS
        for event_id in sorted(self._behind):
            cursor = self.cursor(event_id)
            # A revision is of one ticket, or of the event.
            room -= min(self._behind[event_id] - cursor, PAGE_TICKETS)
            if taken and (room < 0 or len(taken) == GROUP_EVENTS):
                break
            taken[event_id] = cursor
            del self._behind[event_id]
        return taken

    def advance(self, page: Page) -> bool:
        """Move the cursor past `page`; tell whether it held anything new."""
        event_id = page.event.event_id
        is_new = page.revision > self.cursor(event_id)
        self.cursors[event_id] = page.revision
        if page.is_cut:
            self._behind[event_id] = page.revision + PAGE_TICKETS
        elif self._behind.get(event_id, BEGINNING) <= page.revision:
            # Noted while it was being read already: it would be read once more for nothing.
            self._behind.pop(event_id, None)
        return is_new


class Feed:
    """Serves every watcher of this process with one poller.

    Args:
        database: the tickets database.
        clock: the present time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._watchers: set[_Watcher] = set()
        self._heads: dict[UUID, int] = {}
        self._woken = asyncio.Event()
        self._is_draining = False
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._poller = asyncio.create_task(self._poll_on(), name="feed poller")

    def wake(self) -> None:
        """Say that something was committed: look at once."""
        self._woken.set()

    def drain(self) -> None:
        """End every stream; their readers go on elsewhere."""
        self._is_draining = True
        for watcher in self._watchers:
            watcher.news.set()

    async def stop(self) -> None:
        """End every stream and the poller."""
        self.drain()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def watch(
        self, afters: Mapping[UUID, int], epoch: str, max_events: int = 1
    ) -> AsyncGenerator[tuple[str, Sequence[Page]], None]:
        """Yield the epoch and pages of changes, again and again, as they come; end when drained.

        Args:
            afters: the last revision seen of each event.
            epoch: what those revisions are of; with another one they mean nothing, and every event starts anew.
            max_events: how many events' pages may come at once.
        """
        own_epoch = await self._database.run(store.epoch)
        watcher = _Watcher(afters if epoch == own_epoch else dict.fromkeys(afters, BEGINNING))
        # Before its first look, so that what commits in between is noted too.
        self._watchers.add(watcher)
        try:
            watcher.note(await self._look(named=list(afters)))
            while not self._is_draining:
                while behind := watcher.take():
                    for pages in _together(await self._read(behind), max_events):
                        if news := [page for page in pages if watcher.advance(page)]:
                            yield own_epoch, news
                        if self._is_draining:
                            return
                await watcher.news.wait()
                watcher.news.clear()
        finally:
            self._watchers.discard(watcher)

    async def _read(self, behind: Mapping[UUID, int]) -> list[Page]:
        return await self._database.run(
            lambda connection: store.pages(connection, behind, PAGE_TICKETS), isolation="REPEATABLE READ"
        )

    async def _look(self, named: Iterable[UUID]) -> dict[UUID, int]:
        """Return the revisions of all live events and of those named."""
        ended_after = self._clock() - LIVE_AFTER_END
        event_ids = list(named)

        def look(connection: Connection) -> dict[UUID, int]:
            heads = store.live_heads(connection, ended_after)
            return heads | store.named_heads(connection, event_ids) if event_ids else heads

        return await self._database.run(look)

    async def _poll_on(self) -> None:
        polls = failures = 0
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            if not self._watchers:
                self._heads.clear()
                continue
            try:
                await self._poll(is_full=polls % POLLS_PER_FULL_POLL == 0)
            except Failure as failure:
                # The watchers fail by themselves when they read; whoever comes back finds us polling.
                log.warning("the feed could not be polled", extra={"reason": failure.reason})
                failures += 1
                await asyncio.sleep(backoff_seconds(failures, first=POLL_SECONDS, longest=2))
                continue
            polls, failures = polls + 1, 0
            await asyncio.sleep(REST_SECONDS)

    async def _poll(self, *, is_full: bool) -> None:
        named = set(chain.from_iterable(watcher.cursors for watcher in self._watchers)) if is_full else set()
        heads = await self._look(named)
        changed = {event_id: head for event_id, head in heads.items() if self._heads.get(event_id) != head}
        self._heads.update(changed)
        for watcher in self._watchers:
            watcher.note(changed)


def _together(pages: Sequence[Page], max_events: int) -> Iterator[Sequence[Page]]:
    """Divide pages, in their order, into what is sent at once.

    While a process sells, its loop comes round once in some milliseconds, and each message waits for that: a hundred
    events on sale, each in a message of its own, took 100 to 375 ms.
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
