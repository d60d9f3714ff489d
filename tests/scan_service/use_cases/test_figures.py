"""The metrics of the scans database show the replica, devices, unconfirmed reports and incidents."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from scan_service.domain.incidents import IncidentKind
from scan_service.store.tables import devices, feed, incidents
from scan_service.use_cases.figures import FiguresExport
from tests.scanning.gates import DAY, NOW, ScansDatabase
from ticketing.chassis.database import Database


@pytest.fixture
async def exporting(database: ScansDatabase) -> AsyncIterator[FiguresExport]:
    pool = Database(database.url, "test", threads=1)
    yield FiguresExport(pool)
    await pool.close()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"ticketing_{name}", labels)


def enroll(database: ScansDatabase, **values: Any) -> None:
    """Insert a device that is enrolled and connected."""
    usual = {
        "device_id": uuid.uuid4(),
        "organizer_id": "orga",
        "name": "Gate",
        "event_ids": [],
        "create_time": NOW,
        "code_digest": uuid.uuid4().bytes,
        "enroll_time": NOW,
        "token_digest": uuid.uuid4().bytes,
        "connected_until": NOW + DAY,
    }
    database.insert(devices, **(usual | values))


async def test_devices_that_are_enrolled_and_connected_are_counted(database, exporting):
    enroll(database)
    enroll(database, connected_until=NOW - DAY)
    enroll(database, revoke_time=NOW)
    enroll(database, enroll_time=None, token_digest=None, connected_until=None)
    await exporting.sweep()
    assert (value("gate_devices_connected"), value("gate_devices_enrolled")) == (1, 2)


async def test_incidents_of_present_events_and_waiting_reports_are_counted(database, exporting):
    present, past = database.event(), database.event(valid_from_time=NOW - 9 * DAY, valid_until_time=NOW - 8 * DAY)
    for event_id, kind, reported in (
        (present, IncidentKind.DOUBLE_ADMISSION, True),
        (present, IncidentKind.FORGED_TOKEN, False),
        (past, IncidentKind.DOUBLE_ADMISSION, True),
    ):
        key = {"event_id": event_id, "kind": kind, "subject": uuid.uuid4(), "incident_id": uuid.uuid4()}
        database.insert(incidents, **key, create_time=NOW, reported=reported)
    database.ticket(present, sequence=2, reported_sequence=1)
    database.ticket(present, sequence=1, reported_sequence=1)
    await exporting.sweep()
    counted = {kind: value("incidents", kind=kind) for kind in IncidentKind}
    assert counted == dict.fromkeys(IncidentKind, 0) | {
        IncidentKind.DOUBLE_ADMISSION: 1,
        IncidentKind.FORGED_TOKEN: 1,
    }
    assert (value("unreported", reports="check_ins"), value("unreported", reports="incidents")) == (1, 1)


async def test_the_time_of_the_complete_replica_is_shown(database, exporting):
    await exporting.sweep()
    assert value("replica_complete_timestamp_seconds") == 0
    database.update(feed, whole_time=NOW)
    exporting._next_read = 0.0  # noqa: SLF001 - nothing else ends the rest after a read
    await exporting.sweep()
    assert value("replica_complete_timestamp_seconds") == NOW.timestamp()
