"""The presence of devices: one task records connected devices and ends the streams of revoked ones."""

from datetime import datetime, timedelta
from typing import Final

from scan_service.gate_stream.stream import Streams
from scan_service.use_cases.gates import Gates
from scan_service.use_cases.watch_pacer import WatchPacer
from ticketing.chassis.clock import Clock

# A stream ends within a second after the revocation of its device: the pause and the query take much less.
POLL_SECONDS: Final = 0.4
RECORD_INTERVAL: Final = timedelta(seconds=5)


class Presence:
    """The task that polls for revoked devices, and records connected ones and their gates."""

    def __init__(self, gates: Gates, clock: Clock, streams: Streams, pacer: WatchPacer) -> None:
        self._gates = gates
        self._clock = clock
        self._streams = streams
        self._pacer = pacer
        # By the database's clock: the clock of the host that revokes a device may differ by minutes.
        self._polled: datetime | None = None
        self._recorded: datetime | None = None
        self._connected = frozenset[str]()

    async def poll(self) -> None:
        """Poll once; raise DEPENDENCY_UNAVAILABLE where the database does not answer."""
        now = self._clock()
        revoked, self._polled = await self._gates.read_revoked(self._polled)
        self._streams.end_devices(revoked)
        self._pacer.end_devices(revoked)
        await self._gates.record_opened()
        connected = self._streams.devices()
        if connected and (self._recorded is None or now - self._recorded >= RECORD_INTERVAL):
            self._recorded = now
            await self._gates.record_connected(connected)
        if disconnected := self._connected - connected:
            await self._gates.record_disconnected(disconnected)
        self._connected = connected
