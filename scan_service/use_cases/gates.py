"""The opening of gates, and the presence of the devices there."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from scan_service.domain.access import may_access
from scan_service.domain.gates import GateOpening
from scan_service.domain.refusals import event_not_found
from scan_service.store.devices import read_revoked, record_gate, record_presence
from scan_service.store.events import read_opening
from ticketing.admission.scans import Gate
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# A device counts as connected for this time after the last record of its presence.
CONNECTED: Final = timedelta(seconds=15)


class Gates:
    """The use case that opens gates and records which devices are connected."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open(self, gate: Gate, organizer_id: str | None, device_id: str) -> GateOpening:
        """Open a gate and, unless `device_id` is empty, record it; raise EVENT_NOT_FOUND as `check_access` does."""
        opening = await self._database.run(lambda connection: read_opening(connection, gate.event_id))
        if opening is None or not may_access(organizer_id, opening.organizer_id):
            raise event_not_found(gate.event_id)
        if device_id:
            now = self._clock()
            await self._database.run(lambda connection: record_gate(connection, device_id, gate, now, now + CONNECTED))
        return opening

    async def read_revoked(self, since: datetime) -> frozenset[str]:
        """Return the ids of the devices that were revoked at or after `since`."""
        return await self._database.run(lambda connection: read_revoked(connection, since))

    async def record_connected(self, device_ids: Collection[str], now: datetime) -> None:
        """Record that devices are connected."""
        await self._database.run(lambda connection: record_presence(connection, device_ids, now, now + CONNECTED))

    async def record_disconnected(self, device_ids: Collection[str], now: datetime) -> None:
        """Record that devices are not connected any more."""
        await self._database.run(lambda connection: record_presence(connection, device_ids, now, now))
