"""The copy of the ticket service's public keys; every process keeps it, for any of them may meet a new key first."""

import asyncio
import logging
from typing import Final

import grpc.aio

from chassis.database import Database
from chassis.peer import CALL_SECONDS, Peer
from scan_service.convert.feed import key_rows
from scan_service.keys import Keys
from scan_service.store.keys import save_keys
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

log = logging.getLogger(__name__)

# A new key signs nothing in its first ten minutes.
INTERVAL_SECONDS: Final = 60.0


class KeyCopy:
    """Copies the keys.

    Args:
        database: holds the copy.
        peer: the ticket service.
        keys: what this process knows.
    """

    def __init__(self, database: Database, peer: Peer, keys: Keys) -> None:
        self._database = database
        self._peer = peer
        self._stub = TicketFeedServiceStub(peer.channel)
        self._keys = keys

    async def fetch(self) -> None:
        """Ask the ticket service.

        Raises:
            grpc.aio.AioRpcError: it does not answer.
            Failure: the database does not.
        """
        request = pb.GetSigningKeysRequest()
        response = await self._stub.GetSigningKeys(request, timeout=CALL_SECONDS, metadata=self._peer.metadata())
        rows = key_rows(response)
        await self._database.run(lambda connection: save_keys(connection, rows))
        await self._keys.load()

    async def refresh(self) -> None:
        """Bring the keys up to date, then wait until it is time again or a key is missing.

        Raises:
            Failure: the database does not answer.
        """
        self._keys.wanted.clear()
        try:
            await self.fetch()
        except grpc.aio.AioRpcError as error:
            log.debug("the ticket service told no keys", extra={"cause": error.details()})
            # Another process may have learned of one, or that one is retired.
            await self._keys.load()
        try:
            async with asyncio.timeout(INTERVAL_SECONDS):
                await self._keys.wanted.wait()
        except TimeoutError:
            return
