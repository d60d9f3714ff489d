"""The copy of events and tickets, kept by following the ticket service's feed, so that no scan ever waits for it."""

from contextlib import aclosing
from datetime import timedelta
from typing import Final

from chassis.clock import Clock
from chassis.database import Database
from scan_service.adapters.tickets import TicketService
from scan_service.domain.feed import Page
from scan_service.key_copy import KeyCopy
from scan_service.store.feed import mark_whole, read_position, save_page

# The feed tells of events that are over only if they are named, and whoever named all there ever were would ask for
# more than one message holds. One that is moved into the future is told anew.
FOLLOWED_AFTER_END: Final = timedelta(days=7)


class Replica:
    """Follows the feed.

    Args:
        database: holds the copy.
        tickets: the ticket service.
        keys: fetched first; their answer proves that the ticket service is there.
        clock: the present time.
    """

    def __init__(self, database: Database, tickets: TicketService, keys: KeyCopy, clock: Clock) -> None:
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
        async with aclosing(self._tickets.watch(position)) as pages:
            async for page in pages:
                if page is None:
                    await self._note_whole()
                else:
                    await self._save(page)

    async def _save(self, page: Page) -> None:
        await self._database.run(lambda connection: save_page(connection, page))

    async def _note_whole(self) -> None:
        now = self._clock()
        await self._database.run(lambda connection: mark_whole(connection, now))
