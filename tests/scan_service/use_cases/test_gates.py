"""Tests of many gates that open at once, as after a restart of the service."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.devices import Credentials, token_digest
from scan_service.domain.gates import GateOpening
from scan_service.store.clock import DatabaseClock
from scan_service.store.events import read_openings
from scan_service.store.tables import devices
from scan_service.use_cases import gates as module
from scan_service.use_cases.devices import Devices
from tests.environment.access import CODE_SECRET
from tests.environment.waiting import until
from tests.scan_service.use_cases.test_devices import enrolled, listed
from tests.scanning.gates import NOW, Device, ScansDatabase
from ticketing.admission.scans import Gate
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

CROWD = 2_000


@pytest.fixture
async def pool(database: ScansDatabase) -> AsyncIterator[Database]:
    """Yield a small pool, as the service has."""
    opened = Database(database.url, "test", threads=2)
    yield opened
    await opened.close()


async def test_two_thousand_gates_that_open_at_once_are_all_opened(database: ScansDatabase, pool: Database) -> None:
    event_ids = [database.event(), database.event(organizer_id="other")]
    gates = module.Gates(pool, DatabaseClock())
    crowd = [gates.open(Gate(event_ids[n % 2], "North"), "orga", "") for n in range(CROWD)]
    outcomes = await asyncio.gather(*crowd, return_exceptions=True)
    # The access to the event is checked for each gate of a batch.
    assert {getattr(outcome, "event_name", None) for outcome in outcomes[::2]} == {"Concert"}
    assert {outcome.reason for outcome in outcomes[1::2] if isinstance(outcome, Failure)} == {"EVENT_NOT_FOUND"}


async def test_gates_that_open_one_after_the_other_share_reads(
    database: ScansDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id, reads, go = database.event(), list[Collection[uuid.UUID]](), threading.Event()

    def read(
        connection: Connection, event_ids: Collection[uuid.UUID], now: datetime
    ) -> Mapping[uuid.UUID, GateOpening]:
        reads.append(event_ids)
        go.wait(10)
        return read_openings(connection, event_ids, now)

    monkeypatch.setattr(module, "read_openings", read)
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.5)
    gates = module.Gates(pool, DatabaseClock())
    opening = [asyncio.create_task(gates.open(Gate(event_id, "North"), "orga", "")) for _ in range(2)]
    # Both are in the first read. The third one comes during that read, and the fourth one while it waits for more.
    await until(lambda: reads)
    opening.append(asyncio.create_task(gates.open(Gate(event_id, "South"), "orga", "")))
    await asyncio.sleep(0)
    go.set()
    await opening[0]
    await gates.open(Gate(event_id, "South"), "orga", "")
    assert [opened.event_name for opened in await asyncio.gather(*opening)] == ["Concert"] * 3
    assert len(reads) == 2


async def test_two_thousand_devices_that_connect_at_once_are_all_known(database: ScansDatabase, pool: Database) -> None:
    tokens = [f"device_{number}" for number in range(CROWD)]
    rows = [
        {
            "device_id": new_id(),
            "organizer_id": "orga",
            "name": token,
            "event_ids": [],
            "create_time": NOW,
            "enroll_time": NOW,
            "code_digest": token.encode(),
            "token_digest": token_digest(token),
        }
        for token in tokens
    ]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(devices), rows)
    known = Devices(pool, pool, Credentials(CODE_SECRET), system_clock, DatabaseClock())
    callers = await asyncio.gather(*(known.caller(token) for token in tokens))
    assert [caller.subject for caller in callers if caller] == [str(row["device_id"]) for row in rows]


async def test_a_locked_device_delays_no_gate_and_no_record_of_others(database, service, orga):
    event_id = database.event()
    (locked, metadata), (_, other) = [await enrolled(service, orga) for _ in range(2)]
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT 1 FROM devices WHERE device_id = '{locked}' FOR UPDATE")
        gates = [Device(service, metadata), Device(service, other)]
        for number, gate in enumerate(gates):
            assert (await gate.open(event_id, f"North {number}")).event_name == "Concert"

        async def locations() -> set[str]:
            return {device.gate.location for device in (await listed(service, orga)).devices}

        await until(locations, wanted={"", "North 1"})
    await until(locations, wanted={"North 0", "North 1"})
