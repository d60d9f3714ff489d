"""The public keys of tokens, remembered by this process and read again from the database where one is missing."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from chassis.clock import Clock
from chassis.database import Database
from scan_service.domain.tokens import PublicKey
from scan_service.store.keys import read_keys

# Anybody can show tokens that name unknown keys; so often at most they make us look.
INTERVAL: Final = timedelta(seconds=1)


class Keys:
    """The keys as this process knows them; `wanted` is set where one is missing that only the ticket service has."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._keys = dict[int, PublicKey]()
        self._loaded: datetime | None = None
        self.wanted = asyncio.Event()

    def get(self, key_id: int) -> PublicKey | None:
        """Return the key, if it is known."""
        return self._keys.get(key_id)

    async def load(self) -> None:
        """Read all keys."""
        self._loaded = self._clock()
        self._keys = dict(await self._database.run(read_keys))

    async def look_for(self, key_ids: Iterable[int]) -> None:
        """Read the keys again if one of these is not known; never waits for the ticket service."""
        missing = set(key_ids) - self._keys.keys()
        if not missing or (self._loaded is not None and self._clock() - self._loaded < INTERVAL):
            return
        await self.load()
        if missing - self._keys.keys():
            self.wanted.set()
