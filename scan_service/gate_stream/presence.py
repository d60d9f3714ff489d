"""The presence of devices: one task records connected devices, ends the streams of revoked ones, and asks for lost scans."""

from datetime import datetime, timedelta
from typing import Final

from scan_service.domain.recoveries import Resend
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
        # The request that open streams have got.
        self._resend: Resend | None = None

    async def poll(self) -> None:
        """Poll once; raise DEPENDENCY_UNAVAILABLE where the database does not answer."""
        now = self._clock()
        poll = await self._gates.poll(self._polled)
        self._polled = poll.time
        self._streams.end_devices(poll.revoked)
        self._pacer.end_devices(poll.revoked)
        if poll.resend != self._resend:
            self._resend = poll.resend
            if poll.resend is not None:
                self._streams.ask_again(poll.resend)
        await self._gates.record_opened()
        await self._gates.record_resent()
        connected = self._streams.devices()
        if connected and (self._recorded is None or now - self._recorded >= RECORD_INTERVAL):
            self._recorded = now
            await self._gates.record_connected(connected)
        if disconnected := self._connected - connected:
            await self._gates.record_disconnected(disconnected)
        self._connected = connected
