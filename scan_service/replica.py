"""The copy of events and tickets, kept by following the ticket service's feed, so that no scan ever waits for it."""

import asyncio
from typing import Final

from chassis.clock import Clock
from chassis.database import Database
from chassis.peer import Peer
from scan_service.convert.feed import page_of
from scan_service.domain.feed import Page
from scan_service.key_copy import KeyCopy
from scan_service.store.feed import mark_whole, read_position, save_page
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

# A feed that has been silent for so long has told everything: it tells news at once.
SILENCE_SECONDS: Final = 1.0


class Replica:
    """Follows the feed.

    Args:
        database: holds the copy.
        peer: the ticket service.
        keys: fetched first; their answer proves that the ticket service is there.
        clock: the present time.
    """

    def __init__(self, database: Database, peer: Peer, keys: KeyCopy, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._peer = peer
        self._stub = TicketFeedServiceStub(peer.channel)
        self._clock = clock

    async def follow(self) -> None:
        """Follow the feed from where the copy stands, until the stream ends.

        Raises:
            grpc.aio.AioRpcError: the ticket service does not answer, any more or at all.
            Failure: the database does not.
        """
        await self._keys.fetch()
        position = await self._database.run(read_position)
        request = pb.WatchTicketsRequest(after_revisions=position.revisions, epoch=position.epoch)
        # Without a deadline: it is to last. The channel's pings notice a peer that is gone.
        call = self._stub.WatchTickets(request, metadata=self._peer.metadata())
        reading: asyncio.Future[object] | None = None
        try:
            while True:
                # Kept over a silence: to give up a read is to give up the call.
                reading = reading or asyncio.ensure_future(call.read())
                done, _ = await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
                if done:
                    message, reading = reading.result(), None
                    if not isinstance(message, pb.WatchTicketsResponse):
                        return
                    await self._save(page_of(message))
                else:
                    await self._note_whole()
        finally:
            call.cancel()
            if reading is not None:
                reading.cancel()
                await asyncio.wait({reading})

    async def _save(self, page: Page) -> None:
        await self._database.run(lambda connection: save_page(connection, page))

    async def _note_whole(self) -> None:
        now = self._clock()
        await self._database.run(lambda connection: mark_whole(connection, now))
