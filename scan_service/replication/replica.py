"""The replica of events and tickets, which follows the ticket service's feed so that no scan waits for that service."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.adapters.tickets import TicketService
from scan_service.domain.feed import FeedPage
from scan_service.replication.key_replica import KeyReplica
from scan_service.store.clock import DatabaseClock
from scan_service.store.feed import PositionChangedError, mark_complete, read_position, save_pages
from ticketing.chassis.database import Database, RowsLocked

log = logging.getLogger(__name__)

# The feed delivers changes of ended events only if the request names them, and the ids of all past events would not fit
# into one message. If an event is moved into the future, the feed delivers it again from its beginning.
FOLLOWED_AFTER_END: Final = timedelta(days=7)
# The number of messages that may wait while the messages before them are saved.
MAX_MESSAGES: Final = 32
# The number of tickets that one transaction saves, unless one page alone has more.
MAX_TICKETS: Final = 1_000

# The wait after the end of a stream, and the longest wait after a failure: with the deadline of a call, it is shorter than
# the time after which a leader without reports is taken for idle.
WAIT_SECONDS: Final = 0.2
MAX_WAIT_SECONDS: Final = 3.0

# The pages of one message; None: the feed is silent.
FeedMessage = Sequence[FeedPage] | None


class Replica:
    """The task that follows the feed."""

    def __init__(self, database: Database, tickets: TicketService, keys: KeyReplica, clock: DatabaseClock) -> None:
        self._database = database
        self._tickets = tickets
        self._keys = keys
        self._clock = clock
        # Called whenever the replica has stored what the feed has sent.
        self.report_success: Callable[[], None] = lambda: None

    async def follow(self) -> None:
        """Follow the feed from the position of the replica until the stream ends."""
        # The answer proves that the ticket service is available.
        await self._keys.fetch()
        position = await self._database.run(
            lambda connection: read_position(connection, self._clock.read(connection) - FOLLOWED_AFTER_END)
        )
        followed = position.epoch
        async with aclosing(self._tickets.watch(position)) as messages, aclosing(_group(messages)) as groups:
            async for group in groups:
                try:
                    followed = await self._save(
                        [page for pages in group if pages is not None for page in pages], followed
                    )
                    if group[-1] is None:
                        await self._database.run(partial(self._mark_complete, followed=followed))
                        self.report_success()
                except PositionChangedError:
                    log.info("the replica has another position; the feed is followed from there")
                    return

    def _mark_complete(self, connection: Connection, followed: str) -> None:
        mark_complete(connection, self._clock.read(connection), followed)

    async def _save(self, pages: Sequence[FeedPage], followed: str) -> str:
        """Save pages in their order; return the epoch of the replica, which is `followed` before.

        Raises:
            RowsLocked: another session has locked rows of an event; the pages of all other events are saved, and the feed
                sends those of this event again from its cursor.
        """
        locked = dict[UUID, RowsLocked]()
        for transaction in _transactions(pages):
            # A later page would move the cursor past the page that was not saved.
            free = [page for page in transaction if page.event.event_id not in locked]
            try:
                if free:
                    await self._database.run(partial(save_pages, pages=free, followed=followed))
                    followed = free[0].epoch
                    self.report_success()
            except RowsLocked:
                for event_id in {page.event.event_id: None for page in free}:
                    own = [page for page in free if page.event.event_id == event_id]
                    try:
                        await self._database.run(partial(save_pages, pages=own, followed=followed))
                        followed = own[0].epoch
                        self.report_success()
                    except RowsLocked as failure:
                        log.warning(
                            "rows are locked by another session; the replica waits", extra={"event_id": event_id}
                        )
                        locked[event_id] = failure
        if locked:
            raise next(iter(locked.values()))
        return followed


async def _group(messages: AsyncIterator[FeedMessage]) -> AsyncGenerator[list[FeedMessage], None]:
    """Yield the messages that arrived since the last group, at least one; a bounded number of them waits."""
    arrived = deque[FeedMessage]()
    capacity, wakeup = asyncio.Semaphore(MAX_MESSAGES), asyncio.Event()

    async def read() -> None:
        async for message in messages:
            await capacity.acquire()
            arrived.append(message)
            wakeup.set()

    reading = asyncio.create_task(read(), name="feed reader")
    reading.add_done_callback(lambda _: wakeup.set())
    try:
        while arrived or not reading.done():
            if not arrived:
                wakeup.clear()
                await wakeup.wait()
                continue
            group = list(arrived)
            arrived.clear()
            for _ in group:
                capacity.release()
            yield group
        # All messages are saved: an error of the reader ends the generator.
        reading.result()
    finally:
        reading.cancel()
        # The error of the reader is raised once, above.
        await asyncio.gather(reading, return_exceptions=True)


def _transactions(pages: Sequence[FeedPage]) -> Iterator[Sequence[FeedPage]]:
    """Divide pages, in their order: one epoch each, and so few tickets that scans do not wait long for their rows."""
    transaction, tickets = list[FeedPage](), 0
    for page in pages:
        tickets += len(page.tickets)
        if transaction and (page.epoch != transaction[0].epoch or tickets > MAX_TICKETS):
            yield transaction
            transaction, tickets = [], len(page.tickets)
        transaction.append(page)
    if transaction:
        yield transaction
