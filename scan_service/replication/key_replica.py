"""The replica of the ticket service's public keys; every process updates it, since each may need a new key first."""

import asyncio
from typing import Final

from scan_service.adapters.tickets import TicketService
from scan_service.store.clock import DatabaseClock
from scan_service.store.keys import save_keys
from scan_service.use_cases.keys import Keys
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

# A new key signs nothing in its first ten minutes.
INTERVAL_SECONDS: Final = 60.0
# The pause between two fetches, however many tokens name invented keys.
REST_SECONDS: Final = 0.1


class KeyReplica:
    """The task that fetches the keys and stores them."""

    def __init__(self, database: Database, tickets: TicketService, keys: Keys, clock: DatabaseClock) -> None:
        self._database = database
        self._tickets = tickets
        self._keys = keys
        self._clock = clock

    async def fetch(self) -> None:
        """Fetch and store the keys; raise DEPENDENCY_UNAVAILABLE where ticket service or database does not answer."""
        # The time is that by which scans are decided.
        begin = await self._database.run(self._clock.read)
        rows = await self._tickets.signing_keys()
        await self._database.run(lambda connection: save_keys(connection, rows))
        await self._keys.load(fetched=begin)

    async def refresh(self) -> None:
        """Fetch the keys; repeated after INTERVAL_SECONDS or where a key is missing.

        Raises:
            Failure: the ticket service or the database does not answer. Before, the keys are read from the database:
                another process may have stored a new key or a retirement.
        """
        try:
            await self.fetch()
        except Failure:
            await self._keys.load()
            raise
        await asyncio.sleep(REST_SECONDS)
