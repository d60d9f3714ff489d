"""Tests of the command that deletes old scans."""

import asyncio
from argparse import ArgumentTypeError
from datetime import timedelta

import pytest

from scan_service.commands import delete_scans as module
from scan_service.commands.delete_scans import delete_scans, read_days
from scan_service.store.tables import events
from tests.scanning.gates import DAY, NOW, Device
from tests.scanning.uploads import decided
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

LONG_AGO = {"valid_from_time": NOW - 102 * DAY, "valid_until_time": NOW - 100 * DAY}


async def delete(database, days: int) -> str:
    lines: list[str] = []
    assert await asyncio.to_thread(delete_scans, database.url, days, lines.append) == 0
    [line] = lines
    return line


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_SCANS", 2)


async def test_scans_of_old_events_go_and_admissions_stay(database, service, small_pages):
    event_id, later_id = database.event(), database.event()
    tickets = [database.ticket(event_id) for _ in range(5)]
    for ticket in [*tickets, database.ticket(later_id)]:
        assert (await service.scan(ticket.event_id, ticket.token)).verdict == scan_pb2.VERDICT_ADMITTED
    with database.engine.begin() as connection:
        connection.execute(events.update().where(events.c.event_id == event_id).values(**LONG_AGO))
    before = database.rows("tickets")
    assert await delete(database, 101) == "0 scans of 0 events deleted; those of incidents stay"
    assert await delete(database, 99) == "5 scans of 1 events deleted; those of incidents stay"
    assert [scan["event_id"] for scan in database.rows("scans")] == [later_id]
    assert database.rows("tickets") == before
    request = pb.ListScansRequest(event_id=str(event_id))
    assert not (await service.scans.ListScans(request, metadata=service.scanner)).scans


async def test_scans_of_incidents_stay(database, service, small_pages):
    device = Device(service)
    await device.open(database.event())
    [twice, once, last] = [database.ticket(device.event_id) for _ in range(3)]
    decisions = [decided(ticket.token, minute) for minute, ticket in enumerate([twice, once, twice, last])]
    await device.send(upload=pb.Upload(scans=decisions))
    assert len((await device.receive()).uploaded.results) == 4
    request = pb.ListIncidentsRequest(event_id=str(device.event_id))
    before = await service.scans.ListIncidents(request, metadata=service.scanner)
    database.update(events, **LONG_AGO)
    assert (await delete(database, 30)).startswith("2 scans of 1 events deleted")
    assert await service.scans.ListIncidents(request, metadata=service.scanner) == before
    assert [len(incident.scans) for incident in before.incidents] == [2]


@pytest.mark.parametrize("text", ["29", "-1", "x", "", "99999999", "³"])
def test_days_that_are_too_few_or_no_number_are_refused(text):
    with pytest.raises(ArgumentTypeError, match="from 30"):
        read_days(text)


def test_thirty_days_are_enough():
    assert timedelta(days=read_days("30")) == 30 * DAY
