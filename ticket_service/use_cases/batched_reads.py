"""Reads of single objects by key, of all callers together: reads that arrive during a transaction share the next one.

A transaction of its own takes 1 to 3 ms of CPU time for each read, most of it for the round trips and not for the object.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from sqlalchemy.engine import Connection

from ticketing.chassis.batcher import Batcher
from ticketing.chassis.database import MAX_SECONDS, Database
from ticketing.chassis.failures import dependency_unavailable

Key = TypeVar("Key")
Found = TypeVar("Found")

# A transaction occupies one thread of the pool for as long as all of its objects take, some 50 µs each.
MAX_BATCH: Final = 64
# The reads that one second can answer.
MAX_WAITING: Final = 1_024


class BatchedReads(Generic[Key, Found]):
    """The reads of one kind of object; `find` returns the objects of some different keys, and leaves unknown keys out.

    A batch has the keys of several callers, so a use case decides afterwards which objects its caller may see.
    """

    def __init__(
        self, database: Database, name: str, find: Callable[[Connection, Sequence[Key]], Mapping[Key, Found]]
    ) -> None:
        self._database = database
        self._find = find
        self._batcher: Batcher[Key, Found | None] = Batcher(
            name, self._read, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )

    async def get(self, key: Key) -> Found | None:
        """Return the object of a key as of a time after this call began; None if there is none.

        Raises:
            Failure: OVERLOADED or DEPENDENCY_UNAVAILABLE, as `Database.run` does.
        """
        try:
            # While the server hangs, each batch takes all of this time; a read waits for no second one.
            async with asyncio.timeout(MAX_SECONDS):
                return await self._batcher.submit(key)
        except TimeoutError as error:
            raise dependency_unavailable("database") from error

    async def _read(self, keys: Sequence[Key]) -> Sequence[Found | None]:
        unique = list(dict.fromkeys(keys))
        found = await self._database.run(lambda connection: self._find(connection, unique))
        return [found.get(key) for key in keys]
