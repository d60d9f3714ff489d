"""Store the gate devices that the scan service reports, and return them after a restore of its database."""

from collections.abc import Sequence
from uuid import UUID

from ticket_service.domain.gate_devices import GateDevice
from ticket_service.store import gate_devices as store
from ticketing.chassis.database import Database


async def report(database: Database, devices: Sequence[GateDevice]) -> None:
    """Store the reported devices."""
    latest = {device.device_id: device for device in sorted(devices, key=lambda device: device.update_time)}
    if latest:
        await database.run(lambda connection: store.save(connection, list(latest.values())))


async def list_reported(database: Database, after: UUID, limit: int) -> Sequence[GateDevice]:
    """Read up to `limit` devices with an id above `after`, by id."""
    return await database.run(lambda connection: store.list_after(connection, after, limit))
