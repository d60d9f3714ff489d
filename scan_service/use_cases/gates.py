"""The opening of gates, and the presence of the devices there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.access import may_access
from scan_service.domain.gates import GateOpening
from scan_service.domain.recoveries import Resend
from scan_service.domain.refusals import event_not_found
from scan_service.store.clock import DatabaseClock
from scan_service.store.devices import read_revoked, record_gates, record_presence
from scan_service.store.events import read_openings
from scan_service.store.recoveries import mark_resent, read_resend
from ticketing.admission.scans import Gate
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

# A device counts as connected for this time after the last record of its presence.
CONNECTED: Final = timedelta(seconds=15)
# A revocation is visible within this time after it has read the clock: PostgreSQL ends longer transactions.
MAX_COMMIT: Final = timedelta(minutes=1)
# After a restart of the service all devices of a venue connect again in the same second.
MAX_OPENINGS: Final = 512
MAX_WAITING_OPENINGS: Final = 10_000
# While gates open one after the other, a transaction for each would take the interpreter lock from live scans.
GATHER_SECONDS: Final = 0.1
# Gates in one transaction, which locks the rows of their devices.
MAX_RECORDED: Final = 500


@dataclass(frozen=True, slots=True)
class _Request:
    event_id: UUID
    # None: every organizer is allowed.
    organizer_id: str | None


@dataclass(frozen=True, slots=True)
class Poll:
    """What changed for connected devices."""

    # The ids of revoked devices.
    revoked: frozenset[str]
    # None: no device has to send scans again.
    resend: Resend | None
    # The time of the poll.
    time: datetime


class Gates:
    """The use case that opens gates and records which devices are connected."""

    def __init__(self, database: Database, clock: DatabaseClock) -> None:
        self._database = database
        self._clock = clock
        self._openings = Batcher(
            "gates",
            self._open,
            max_batch=MAX_OPENINGS,
            max_waiting=MAX_WAITING_OPENINGS,
            gather_seconds=GATHER_SECONDS,
        )
        # The gates that devices have opened since `record_opened`.
        self._opened = dict[str, Gate]()
        # The devices that have sent their scans again since `record_resent`, each with the recovery.
        self._resent = dict[str, UUID]()

    async def open(self, gate: Gate, organizer_id: str | None, device_id: str) -> GateOpening:
        """Open a gate, of the device unless `device_id` is empty; raise EVENT_NOT_FOUND as `check_access` does.

        The opening waits for no lock: `record_opened` writes the row of the device later.
        """
        opening = await self._openings.submit(_Request(gate.event_id, organizer_id))
        if device_id:
            self._opened[device_id] = gate
        return opening

    async def _open(self, requests: Sequence[_Request]) -> Sequence[GateOpening | Failure]:
        event_ids = {request.event_id for request in requests}
        openings = await self._database.run(
            lambda connection: read_openings(connection, event_ids, self._clock.read(connection))
        )
        return [
            opening
            if (opening := openings.get(request.event_id)) and may_access(request.organizer_id, opening.organizer_id)
            else event_not_found(request.event_id)
            for request in requests
        ]

    async def record_opened(self) -> None:
        """Record gates that devices have opened since the last record; the gate of a locked device waits for the next."""
        opened = dict(islice(self._opened.items(), MAX_RECORDED))
        if not opened:
            return

        def record(connection: Connection) -> frozenset[str]:
            now = self._clock.read(connection)
            return record_gates(connection, opened, now, now + CONNECTED)

        for device_id in await self._database.run(record):
            # A gate that the device has opened meanwhile stays.
            if self._opened[device_id] is opened[device_id]:
                del self._opened[device_id]
        # The gates of locked devices must not keep others from being recorded.
        for device_id in opened.keys() & self._opened.keys():
            self._opened[device_id] = self._opened.pop(device_id)

    async def poll(self, polled: datetime | None) -> Poll:
        """Return the devices that were revoked since `polled`, and the request to devices to send scans again.

        The first poll passes None. A revocation commits some time after it has read the clock, so the ids of the last
        minute are returned again.
        """

        def read(connection: Connection) -> Poll:
            now = self._clock.read(connection)
            return Poll(read_revoked(connection, (polled or now) - MAX_COMMIT), read_resend(connection), now)

        return await self._database.run(read)

    def note_resent(self, device_id: str, recovery_id: UUID) -> None:
        """Note that a device has sent its scans again; `record_resent` writes it."""
        self._resent[device_id] = recovery_id

    async def record_resent(self) -> None:
        """Record the devices that have sent their scans again; a locked device waits for the next record."""
        for recovery_id in set(self._resent.values()):
            noted = [device_id for device_id, other in self._resent.items() if other == recovery_id]
            ids = [UUID(device_id) for device_id in noted[:MAX_RECORDED]]
            recorded = await self._database.run(partial(mark_resent, device_ids=ids, recovery_id=recovery_id))
            for device_id in map(str, recorded):
                # The device may have sent its scans for a later recovery meanwhile.
                if self._resent.get(device_id) == recovery_id:
                    del self._resent[device_id]

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
