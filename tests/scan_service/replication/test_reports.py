"""What the ticket service is told of incidents: each once, as soon as it is there to hear of it."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.environment.waiting import until
from tests.scanning.gates import Device
from ticketing.chassis import leadership
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb
from ticketing.tickets.v1 import ticket_pb2

IN, OUT = scan_pb2.SCAN_TYPE_CHECK_IN, scan_pb2.SCAN_TYPE_CHECK_OUT
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Try again at once."""
    monkeypatch.setattr(leadership, "LONGEST_SECONDS", 0.05)


async def let_through(service, shown, minute, location, kind=IN):
    """Let a device deliver that it let somebody through alone, `minute` minutes after BEGIN."""
    device = Device(service)
    await device.open(shown.event_id, location)
    scan = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=shown.token, scan_type=kind)
    scan.offline.verdict = scan_pb2.VERDICT_ADMITTED
    scan.offline.scan_time.FromDatetime(BEGIN + timedelta(minutes=minute))
    await device.send(upload=pb.Upload(scans=[scan]))
    await device.receive()
    device.call.cancel()


async def forge(service, event_id):
    """Show a token that nobody signed."""
    await service.scan(event_id, "T1" + "A" * 170)


async def told(stand_in, kind):
    """Wait until an incident of `kind` was told, and with it all that there were before; return them."""
    await until(lambda: kind in [one.kind for one in stand_in.incidents])
    return stand_in.incidents


async def listed(service, event_id):
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    return (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents


async def test_an_incident_is_reported_once_with_what_is_known_of_it(copy, paired, tickets):
    event_id = copy.event()
    shown = copy.ticket(event_id)
    # The later one first: it is told where the latest was made, not who was the last to deliver.
    await let_through(paired, shown, 2, "South")
    await let_through(paired, shown, 1, "North")
    await told(tickets[0], "DOUBLE_ADMISSION")
    await let_through(paired, shown, 3, "West")
    await forge(paired, event_id)
    double, forged = await told(tickets[0], "FORGED_TOKEN")
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
    assert (forged.ticket_id, forged.scan_count, forged.location) == ("", 1, "North")
    assert tickets[0].metadata_of_incidents["authorization"].startswith("Bearer ")


async def test_an_incident_is_reported_until_it_is_confirmed(copy, paired, tickets):
    event_id = copy.event()
    tickets[0].takes_incidents = False
    await forge(paired, event_id)
    await until(lambda: len(tickets[0].incidents) >= 2)
    assert [row["reported"] for row in copy.rows("incidents")] == [False]
    tickets[0].takes_incidents = True
    await until(lambda: [row["reported"] for row in copy.rows("incidents")] == [True])
    assert len({one.incident_id for one in tickets[0].incidents}) == 1


async def test_an_incident_that_is_explained_before_it_could_be_told_is_not_told(copy, paired, tickets):
    event_id = copy.event(admission_policy="RE_ENTRY")
    shown = copy.ticket(event_id)
    tickets[0].takes_incidents = False
    await let_through(paired, shown, 1, "North")
    await let_through(paired, shown, 3, "North")
    assert [one.kind for one in await listed(paired, event_id)] == [scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION]
    await let_through(paired, shown, 2, "North", OUT)
    assert await listed(paired, event_id) == []
    await forge(paired, event_id)
    # The next report holds all that is to be told by now.
    await told(tickets[0], "FORGED_TOKEN")
    assert [one.kind for one in tickets[0].reports[-1].incidents] == ["FORGED_TOKEN"]
    assert [row["reported"] for row in copy.rows("incidents")] == [False, False]


async def test_incidents_that_are_refused_hold_up_no_check_in(copy, paired, tickets):
    event_id = copy.event()
    shown = copy.ticket(event_id)
    tickets[0].takes_incidents = False
    await forge(paired, event_id)
    await until(lambda: tickets[0].incidents)
    await paired.scan(event_id, shown.token)
    await until(lambda: [row["reported_sequence"] for row in copy.rows("tickets")] == [1])


async def test_a_check_in_that_the_ticket_service_finds_impossible_is_told_to_it_as_an_incident(copy, paired, tickets):
    event_id = copy.event()
    shown = copy.unknown(event_id)
    tickets[0].conflicts = [
        feed_pb.CheckInConflict(
            event_id=str(event_id), ticket_id=str(shown.ticket_id), status=ticket_pb2.TICKET_STATUS_REFUNDED
        )
    ]
    await paired.scan(event_id, shown.token)
    [incident] = await told(tickets[0], "REVOKED_ADMISSION")
    assert incident.ticket_id == str(shown.ticket_id)
