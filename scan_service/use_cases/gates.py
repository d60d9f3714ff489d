"""The opening of gates, and the presence of the devices there."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.engine import Connection

from scan_service.domain.access import may_access
from scan_service.domain.gates import GateOpening
from scan_service.domain.refusals import event_not_found
from scan_service.store.clock import DatabaseClock
from scan_service.store.devices import read_revoked, record_gate, record_presence
from scan_service.store.events import read_opening
from ticketing.admission.scans import Gate
from ticketing.chassis.database import Database

# A device counts as connected for this time after the last record of its presence.
CONNECTED: Final = timedelta(seconds=15)
# A revocation is visible within this time after it has read the clock: PostgreSQL ends longer transactions.
MAX_COMMIT: Final = timedelta(minutes=1)


class Gates:
    """The use case that opens gates and records which devices are connected."""

    def __init__(self, database: Database, clock: DatabaseClock) -> None:
        self._database = database
        self._clock = clock

    async def open(self, gate: Gate, organizer_id: str | None, device_id: str) -> GateOpening:
        """Open a gate and, unless `device_id` is empty, record it; raise EVENT_NOT_FOUND as `check_access` does."""
        opening = await self._database.run(
            lambda connection: read_opening(connection, gate.event_id, self._clock.read(connection))
        )
        if opening is None or not may_access(organizer_id, opening.organizer_id):
            raise event_not_found(gate.event_id)
        if device_id:
            until = opening.open_time + CONNECTED
            await self._database.run(
                lambda connection: record_gate(connection, device_id, gate, opening.open_time, until)
            )
        return opening

    async def read_revoked(self, polled: datetime | None) -> tuple[frozenset[str], datetime]:
        """Return the ids of the devices that were revoked since `polled`, and the time of this poll.

        The first poll passes None. A revocation commits some time after it has read the clock, so the ids of the last
        minute are returned again.
        """

        def read(connection: Connection) -> tuple[frozenset[str], datetime]:
            now = self._clock.read(connection)
            return read_revoked(connection, (polled or now) - MAX_COMMIT), now

        return await self._database.run(read)

    async def record_connected(self, device_ids: Collection[str]) -> None:
        """Record that devices are connected."""
        await self._record_presence(device_ids, CONNECTED)

    async def record_disconnected(self, device_ids: Collection[str]) -> None:
        """Record that devices are not connected any more."""
        await self._record_presence(device_ids, timedelta())

    async def _record_presence(self, device_ids: Collection[str], connected: timedelta) -> None:
        def record(connection: Connection) -> None:
            now = self._clock.read(connection)
            record_presence(connection, device_ids, now, now + connected)

        await self._database.run(record)
