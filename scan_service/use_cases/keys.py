"""The public keys of tokens, which each process caches and reads again from the database where one is missing."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scan_service.store.keys import read_keys
from ticketing.admission.tokens import PublicKey
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# Anybody can scan tokens that name unknown keys, so a missing key causes at most one query in this interval.
INTERVAL: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class CachedKeys:
    """The keys that this process had at one moment, and the time of their last fetch from the ticket service."""

    by_id: Mapping[int, PublicKey]
    # None: never.
    fetch_time: datetime | None

    def get(self, key_id: int) -> PublicKey | None:
        """Return the key; None where it is not cached."""
        return self.by_id.get(key_id)

    def may_be_missing(self, key_id: int, since: datetime) -> bool:
        """Return whether a key is missing that the ticket service may have: the last fetch was before `since`."""
        return key_id not in self.by_id and (self.fetch_time is None or self.fetch_time < since)


class Keys:
    """The keys of this process.

    Each read replaces `cached`, so that decisions which belong together use the keys of one moment. `report_missing` is
    called where a token named a key that the database lacks too; the key replica fetches it from the ticket service.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.cached = CachedKeys({}, None)
        self._reading = asyncio.Lock()
        self._read_time: datetime | None = None
        self.report_missing: Callable[[], None] = lambda: None

    async def load(self, fetched: datetime | None = None) -> None:
        """Read all keys from the database; `fetched` is the time of a fetch that has just stored them."""
        async with self._reading:
            await self._load(fetched or self.cached.fetch_time)

    async def load_missing(self, key_ids: Iterable[int]) -> None:
        """Read the keys again if one of `key_ids` is not cached; never wait for the ticket service."""
        needed = set(key_ids)
        if needed <= self.cached.by_id.keys():
            return
        # A read in progress may load the key.
        async with self._reading:
            if not needed <= self.cached.by_id.keys() and (
                self._read_time is None or self._clock() - self._read_time >= INTERVAL
            ):
                await self._load(self.cached.fetch_time)
        if not needed <= self.cached.by_id.keys():
            self.report_missing()

    async def _load(self, fetch_time: datetime | None) -> None:
        begin = self._clock()
        self.cached = CachedKeys(dict(await self._database.run(read_keys)), fetch_time)
        self._read_time = begin
