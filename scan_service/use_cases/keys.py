"""The public keys of tokens, cached by each process and read again from the database where one is missing."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from scan_service.store.keys import read_keys
from ticketing.admission.tokens import PublicKey
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# Anybody can scan tokens that name unknown keys, so a missing key causes at most one query in this interval.
INTERVAL: Final = timedelta(seconds=1)


class Keys:
    """The cached keys of this process.

    `missing` is set where a token named a key that is not in the database either, so that it has to be fetched from the
    ticket service.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._keys = dict[int, PublicKey]()
        self._reading = asyncio.Lock()
        self._read_time: datetime | None = None
        self._fetch_time: datetime | None = None
        self.missing = asyncio.Event()

    def get(self, key_id: int) -> PublicKey | None:
        """Return the key; None where it is not cached."""
        return self._keys.get(key_id)

    def may_be_missing(self, key_id: int, since: datetime) -> bool:
        """Return whether the ticket service may have a key that it was not asked for since `since`."""
        return key_id not in self._keys and (self._fetch_time is None or self._fetch_time < since)

    async def load(self, fetched: datetime | None = None) -> None:
        """Read all keys from the database.

        Args:
            fetched: when the ticket service was asked, where its keys were stored just before.
        """
        async with self._reading:
            await self._load()
            self._fetch_time = fetched or self._fetch_time

    async def load_missing(self, key_ids: Iterable[int]) -> None:
        """Read the keys again if one of `key_ids` is not cached; never wait for the ticket service."""
        needed = set(key_ids)
        if needed <= self._keys.keys():
            return
        # A read in progress may load the key.
        async with self._reading:
            if not needed <= self._keys.keys() and (
                self._read_time is None or self._clock() - self._read_time >= INTERVAL
            ):
                await self._load()
        if not needed <= self._keys.keys():
            self.missing.set()

    async def _load(self) -> None:
        begin = self._clock()
        self._keys = dict(await self._database.run(read_keys))
        self._read_time = begin
