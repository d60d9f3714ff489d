"""The copy of events and tickets, kept by following the ticket service's feed, so that no scan ever waits for it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from scan_service.adapters.tickets import TicketService
from scan_service.domain.feed import Page
from scan_service.replication.key_replica import KeyReplica
from scan_service.store.feed import mark_whole, read_position, save_pages
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# The feed tells of events that are over only if they are named, and whoever named all there ever were would ask for
# more than one message holds. One that is moved into the future is told anew.
FOLLOWED_AFTER_END: Final = timedelta(days=7)
# Messages that wait while those before them are saved.
MAX_MESSAGES: Final = 32
# Saved in one transaction, unless one page alone holds more.
MAX_TICKETS: Final = 1_000

# The pages of one message, or that the feed is silent.
Told = Sequence[Page] | None


class Replica:
    """Follows the feed.

    Args:
        database: holds the copy.
        tickets: the ticket service.
        keys: fetched first; their answer proves that the ticket service is there.
        clock: the present time.
    """

    def __init__(self, database: Database, tickets: TicketService, keys: KeyReplica, clock: Clock) -> None:
        self._database = database
        self._tickets = tickets
        self._keys = keys
        self._clock = clock

    async def follow(self) -> None:
        """Follow the feed from where the copy stands, until the stream ends.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where the ticket service or the database does not answer.
        """
        await self._keys.fetch()
        ended_after = self._clock() - FOLLOWED_AFTER_END
        position = await self._database.run(lambda connection: read_position(connection, ended_after))
        async with aclosing(self._tickets.watch(position)) as told, aclosing(_come_meanwhile(told)) as groups:
            async for group in groups:
                for together in _transactions([page for pages in group if pages is not None for page in pages]):
                    await self._save(together)
                if group[-1] is None:
                    await self._note_whole()

    async def _save(self, pages: Sequence[Page]) -> None:
        await self._database.run(lambda connection: save_pages(connection, pages))

    async def _note_whole(self) -> None:
        now = self._clock()
        await self._database.run(lambda connection: mark_whole(connection, now))


async def _come_meanwhile(messages: AsyncIterator[Told]) -> AsyncGenerator[list[Told], None]:
    """Yield what has come since the last time, at least one; a bounded number of them waits."""
    come = deque[Told]()
    room, news = asyncio.Semaphore(MAX_MESSAGES), asyncio.Event()

    async def read() -> None:
        async for message in messages:
            await room.acquire()
            come.append(message)
            news.set()

    reading = asyncio.create_task(read(), name="feed reader")
    reading.add_done_callback(lambda _: news.set())
    try:
        while come or not reading.done():
            if not come:
                news.clear()
                await news.wait()
                continue
            group = list(come)
            come.clear()
            for _ in group:
                room.release()
            yield group
        # How reading ended is how following ends, once what was read is saved.
        reading.result()
    finally:
        reading.cancel()
        # What it failed of is not told a second time.
        await asyncio.gather(reading, return_exceptions=True)


def _transactions(pages: Sequence[Page]) -> Iterator[Sequence[Page]]:
    """Divide pages, in their order: one epoch each, and not so many tickets that scans wait for their rows."""
    together, tickets = list[Page](), 0
    for page in pages:
        tickets += len(page.tickets)
        if together and (page.epoch != together[0].epoch or tickets > MAX_TICKETS):
            yield together
            together, tickets = [], len(page.tickets)
        together.append(page)
    if together:
        yield together
