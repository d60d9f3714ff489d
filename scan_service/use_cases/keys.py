"""The public keys of tokens, remembered by this process and read again from the database where one is missing."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from scan_service.store.keys import read_keys
from ticketing.admission.tokens import PublicKey
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# Anybody can show tokens that name unknown keys; so often at most they make us look.
INTERVAL: Final = timedelta(seconds=1)


class Keys:
    """The keys as this process knows them; `wanted` is set where one is missing that only the ticket service has."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._keys = dict[int, PublicKey]()
        self._reading = asyncio.Lock()
        self._read: datetime | None = None
        self._fetched: datetime | None = None
        self.wanted = asyncio.Event()

    def get(self, key_id: int) -> PublicKey | None:
        """Return the key, if it is known."""
        return self._keys.get(key_id)

    def may_lack(self, key_id: int, since: datetime) -> bool:
        """Tell whether the ticket service may have had the key at `since` without our knowing of it."""
        return key_id not in self._keys and (self._fetched is None or self._fetched < since)

    async def load(self, fetched: datetime | None = None) -> None:
        """Read all keys; `fetched` says when the ticket service was asked, where they have just come from there."""
        async with self._reading:
            await self._load()
            self._fetched = fetched or self._fetched

    async def look_for(self, key_ids: Iterable[int]) -> None:
        """Read the keys again if one of these is not known; never waits for the ticket service."""
        asked = set(key_ids)
        if asked <= self._keys.keys():
            return
        # Whoever is reading them already may bring it.
        async with self._reading:
            if not asked <= self._keys.keys() and (self._read is None or self._clock() - self._read >= INTERVAL):
                await self._load()
        if not asked <= self._keys.keys():
            self.wanted.set()

    async def _load(self) -> None:
        begin = self._clock()
        self._keys = dict(await self._database.run(read_keys))
        self._read = begin
