"""Statements on the gate devices that the scan service has reported."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.gate_devices import GateDevice
from ticket_service.store.tables import gate_devices
from ticketing.chassis.arrays import array, ids, times

# A restored scan service may report an older state. The order prevents a deadlock of two reports.
_SAVE: Final = sa.text("""
    INSERT INTO gate_devices (device_id, update_time, state)
    SELECT device_id, update_time, state
    FROM unnest(CAST(:device_ids AS uuid[]), CAST(:times AS timestamptz[]), CAST(:states AS text[]))
        AS report (device_id, update_time, state)
    ORDER BY device_id
    ON CONFLICT (device_id) DO UPDATE SET update_time = EXCLUDED.update_time, state = EXCLUDED.state
    WHERE gate_devices.update_time < EXCLUDED.update_time
""")


def save(connection: Connection, devices: Sequence[GateDevice]) -> None:
    """Store devices, each named once; an older state changes nothing."""
    values = {
        "device_ids": ids(device.device_id for device in devices),
        "times": times([device.update_time for device in devices]),
        "states": array(device.state for device in devices),
    }
    connection.execute(_SAVE, values)


def list_after(connection: Connection, after: UUID, limit: int) -> list[GateDevice]:
    """Return up to `limit` devices, by id."""
    columns = (gate_devices.c.device_id, gate_devices.c.update_time, gate_devices.c.state)
    query = sa.select(*columns).where(gate_devices.c.device_id > after).order_by(gate_devices.c.device_id).limit(limit)
    return [GateDevice(*row) for row in connection.execute(query)]
