"""Which devices are there, as is noted for their organizers; and the end of those that were revoked, in a second."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from scan_service.gate_stream.stream import CONNECTED, Streams
from scan_service.store.devices import note_seen, revoked_since
from scan_service.use_cases.watching import Watching
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# Together with one look at the database well within the second that is promised.
LOOK_SECONDS: Final = 0.4
NOTE_INTERVAL: Final = timedelta(seconds=5)
# The clocks of two processes, one that revokes and one that looks, differ by less.
SKEW: Final = timedelta(minutes=1)


class Presence:
    """Looks for revoked devices, and notes which are connected.

    Args:
        database: the scans database.
        clock: the present time.
        streams: that are open.
        watching: ends what else devices have open.
    """

    def __init__(self, database: Database, clock: Clock, streams: Streams, watching: Watching) -> None:
        self._database = database
        self._clock = clock
        self._streams = streams
        self._watching = watching
        self._looked = clock()
        self._noted: datetime | None = None
        self._connected = frozenset[str]()

    async def look(self) -> None:
        """Look once, then wait.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where the database does not answer.
        """
        now, since = self._clock(), self._looked - SKEW
        revoked = await self._database.run(lambda connection: revoked_since(connection, since))
        self._looked = now
        self._streams.end_devices(revoked)
        self._watching.end_devices(revoked)
        connected = self._streams.devices()
        if connected and (self._noted is None or now - self._noted >= NOTE_INTERVAL):
            self._noted = now
            until = now + CONNECTED
            await self._database.run(lambda connection: note_seen(connection, connected, now, until))
        if gone := self._connected - connected:
            await self._database.run(lambda connection: note_seen(connection, gone, now, now))
        self._connected = connected
        await asyncio.sleep(LOOK_SECONDS)
