"""Tests of the reports of check-ins and incidents: each is reported once, as soon as the ticket service answers."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from nacl.signing import SigningKey

from scan_service import app
from scan_service.replication import reports
from scan_service.store.tables import tickets as tickets_table
from tests.environment.waiting import until
from tests.scanning.gates import Device, token_of
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb
from ticketing.tickets.v1 import ticket_pb2

IN, OUT = scan_pb2.SCAN_TYPE_CHECK_IN, scan_pb2.SCAN_TYPE_CHECK_OUT
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


async def upload_admission(service, shown, minute, location, kind=IN):
    """Upload an offline admission of `minute` minutes after BEGIN."""
    device = Device(service)
    await device.open(shown.event_id, location)
    scan = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=shown.token, scan_type=kind)
    scan.offline.verdict = scan_pb2.VERDICT_ADMITTED
    scan.offline.scan_time.FromDatetime(BEGIN + timedelta(minutes=minute))
    await device.send(upload=pb.Upload(scans=[scan]))
    await device.receive()
    device.call.cancel()


async def forge(service, event_id):
    token = token_of(SigningKey.generate(), event_id, uuid.uuid4())
    for _ in range(2):
        await service.scan(event_id, token)


async def wait_for_report(stand_in, kind):
    """Wait until an incident of `kind` is reported; return all reported incidents."""
    await until(lambda: kind in [one.kind for one in stand_in.incidents])
    return stand_in.incidents


async def listed(service, event_id):
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    return (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents


async def test_an_incident_is_reported_once_with_its_facts(database, paired, tickets):
    event_id = database.event()
    shown = database.ticket(event_id)
    # The later scan is uploaded first: the report names the location of the latest scan, not of the last upload.
    await upload_admission(paired, shown, 2, "South")
    await upload_admission(paired, shown, 1, "North")
    await wait_for_report(tickets[0], "DOUBLE_ADMISSION")
    await upload_admission(paired, shown, 3, "West")
    await forge(paired, event_id)
    double, forged = await wait_for_report(tickets[0], "FORGED_TOKEN")
    _, incident = await listed(paired, event_id)
    assert double == feed_pb.ReportedIncident(
        event_id=str(event_id),
        incident_id=incident.incident_id,
        kind="DOUBLE_ADMISSION",
        ticket_id=str(shown.ticket_id),
        create_time=incident.create_time,
        scan_count=2,
        location="South",
    )
    assert (forged.ticket_id, forged.scan_count, forged.location) == ("", 2, "North")
    assert tickets[0].metadata_of_incidents["authorization"].startswith("Bearer ")


async def test_an_incident_is_reported_until_it_is_confirmed(database, paired, tickets):
    event_id = database.event()
    tickets[0].accepts_incidents = False
    await forge(paired, event_id)
    await until(lambda: len(tickets[0].incidents) >= 2)
    assert [row["reported"] for row in database.rows("incidents")] == [False]
    tickets[0].accepts_incidents = True
    await until(lambda: [row["reported"] for row in database.rows("incidents")] == [True])
    assert len({one.incident_id for one in tickets[0].incidents}) == 1


async def test_an_incident_explained_before_its_report_is_not_reported(database, paired, tickets):
    event_id = database.event(admission_policy="RE_ENTRY")
    shown = database.ticket(event_id)
    tickets[0].accepts_incidents = False
    await upload_admission(paired, shown, 1, "North")
    await upload_admission(paired, shown, 3, "North")
    assert [one.kind for one in await listed(paired, event_id)] == [scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION]
    await upload_admission(paired, shown, 2, "North", OUT)
    assert await listed(paired, event_id) == []
    await forge(paired, event_id)
    # The next report contains all unreported incidents.
    await wait_for_report(tickets[0], "FORGED_TOKEN")
    assert [one.kind for one in tickets[0].reports[-1].incidents] == ["FORGED_TOKEN"]
    assert [row["reported"] for row in database.rows("incidents")] == [False, False]


async def test_refused_incidents_delay_no_check_in(database, paired, tickets):
    event_id = database.event()
    shown = database.ticket(event_id)
    tickets[0].accepts_incidents = False
    await forge(paired, event_id)
    await until(lambda: tickets[0].incidents)
    await paired.scan(event_id, shown.token)
    await until(lambda: [row["reported_sequence"] for row in database.rows("tickets")] == [1])


async def test_a_check_in_conflict_is_reported_as_an_incident(database, paired, tickets):
    event_id = database.event()
    shown = database.unknown(event_id)
    tickets[0].conflicts = [
        feed_pb.CheckInConflict(
            event_id=str(event_id), ticket_id=str(shown.ticket_id), status=ticket_pb2.TICKET_STATUS_REFUNDED
        )
    ]
    await paired.scan(event_id, shown.token)
    [incident] = await wait_for_report(tickets[0], "REVOKED_ADMISSION")
    assert incident.ticket_id == str(shown.ticket_id)


@pytest.fixture
def short_lock_waits(long_lock_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.LOCK_MILLISECONDS, "lock_timeout", 100)


def checked_in(database):
    """Return a ticket whose check-in is not reported yet."""
    entry = {"entry_scan_id": uuid.uuid4(), "entry_time": BEGIN, "entry_location": "North"}
    return database.ticket(database.event(), sequence=1, check_in_time=BEGIN, **entry)


def conflict_of(shown):
    return feed_pb.CheckInConflict(event_id=str(shown.event_id), ticket_id=str(shown.ticket_id))


@pytest.mark.usefixtures("short_lock_waits")
@pytest.mark.parametrize("is_conflict", [False, True])
async def test_a_locked_ticket_delays_no_other_report(database, paired, tickets, is_conflict):
    tickets[0].accepts_check_ins = False
    locked, free = (database.ticket(database.event()) for _ in range(2))
    for shown in (locked, free):
        await paired.scan(shown.event_id, shown.token)
    tickets[0].conflicts = [conflict_of(locked)] if is_conflict else []

    def is_reported() -> list[bool]:
        rows = {row["ticket_id"]: row["reported_sequence"] == 1 for row in database.rows("tickets")}
        return [rows[locked.ticket_id], rows[free.ticket_id]]

    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT FROM tickets WHERE ticket_id = '{locked.ticket_id}' FOR UPDATE")
        tickets[0].accepts_check_ins = True
        await until(is_reported, [False, True])
    await until(is_reported, [True, True])


async def test_a_ticket_locked_in_the_ticket_service_is_reported_again(database, paired, tickets):
    locked, free = (checked_in(database) for _ in range(2))
    tickets[0].locked_tickets = {str(locked.ticket_id)}
    # One of them may have been reported before.
    database.update(tickets_table, sequence=2)
    await until(lambda: {row["reported_sequence"] for row in database.rows("tickets")} >= {2})
    reported = len(tickets[0].reported)
    await until(lambda: len(tickets[0].reported) > reported)
    sequences = {row["ticket_id"]: row["reported_sequence"] for row in database.rows("tickets")}
    assert sequences[free.ticket_id] == 2
    assert sequences[locked.ticket_id] < 2
    tickets[0].locked_tickets = set()
    await until(lambda: {row["reported_sequence"] for row in database.rows("tickets")}, {2})


async def test_a_full_batch_of_locked_tickets_is_reported_after_a_pause(database, paired, tickets, monkeypatch):
    monkeypatch.setattr(reports, "MAX_CHECK_INS", 1)
    [task] = await until(lambda: [t for t in paired.app.tasks.running() if t.record.name == "check_in_reports"])
    await task.stop()
    locked = checked_in(database)
    tickets[0].locked_tickets = {str(locked.ticket_id)}
    assert await task.step() is False
    tickets[0].locked_tickets = set()
    assert await task.step() is True
    task.start()


async def test_check_ins_that_are_read_at_once_are_reported_in_small_calls(database, paired, tickets, monkeypatch):
    monkeypatch.setattr(reports, "MAX_CHECK_INS", 4)
    monkeypatch.setattr(reports, "MAX_IN_CALL", 2)
    [task] = await until(lambda: [t for t in paired.app.tasks.running() if t.record.name == "check_in_reports"])
    await task.stop()
    for _ in range(5):
        checked_in(database)
    assert [await task.step() for _ in range(3)] == [True, True, False]
    assert tickets[0].report_sizes == [2, 2, 1]
    assert {row["reported_sequence"] for row in database.rows("tickets")} == {1}
    task.start()


async def test_locked_tickets_of_one_call_delay_no_other_call(database, paired, tickets, monkeypatch):
    monkeypatch.setattr(reports, "MAX_CHECK_INS", 3)
    monkeypatch.setattr(reports, "MAX_IN_CALL", 1)
    [task] = await until(lambda: [t for t in paired.app.tasks.running() if t.record.name == "check_in_reports"])
    await task.stop()
    locked, free = [checked_in(database) for _ in range(2)], checked_in(database)
    tickets[0].locked_tickets = {str(one.ticket_id) for one in locked}
    for _ in range(3):
        await task.step()
    reported = {row["ticket_id"]: row["reported_sequence"] for row in database.rows("tickets")}
    assert reported == {**{one.ticket_id: 0 for one in locked}, free.ticket_id: 1}
    task.start()


@pytest.mark.parametrize(("took", "rested"), [(0.125, 0.5), (60.0, 1.0)])
async def test_reports_rest_before_the_next_call_in_proportion_to_the_last_one(  # noqa: PLR0913, PLR0917 - fixtures
    database, paired, tickets, monkeypatch, took, rested
):
    rests = []

    async def rest(seconds):
        rests.append(seconds)

    monkeypatch.setattr(reports, "MAX_CHECK_INS", 2)
    [task] = await until(lambda: [t for t in paired.app.tasks.running() if t.record.name == "check_in_reports"])
    await task.stop()
    monkeypatch.setattr(reports, "asyncio", SimpleNamespace(sleep=rest))
    monkeypatch.setattr(reports, "monotonic", itertools.count(0.0, took).__next__)
    for _ in range(3):
        checked_in(database)
    assert [await task.step(), rests] == [True, [rested]]
    assert [await task.step(), rests] == [False, [rested]]
    task.start()
