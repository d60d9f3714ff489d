"""Tests of annulments, by a passage on a gate's stream and by AnnulScan."""

import asyncio
import random
import uuid
from datetime import timedelta

import grpc
import pytest

from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Device
from ticketing.scans.v1 import error_reason_pb2, revocation_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_pb2

ADMITTED, DENIED = scan_pb2.VERDICT_ADMITTED, scan_pb2.VERDICT_DENIED
OUT = scan_pb2.SCAN_TYPE_CHECK_OUT


async def annul(service, scan_id, metadata=None) -> scan_pb2.Scan:
    request = pb.AnnulScanRequest(scan_id=scan_id)
    return (await service.scans.AnnulScan(request, metadata=metadata or service.scanner, timeout=20)).scan


async def refused(service, scan_id, metadata=None) -> tuple[str, str]:
    refused = await refusal(annul(service, scan_id, metadata))
    return refused.reason, refused.metadata.get("cause", "")


async def revoke(service, ticket) -> bool:
    revocation = revocation_service_pb2.Revocation(
        revocation_id=str(uuid.uuid4()),
        ticket_id=str(ticket.ticket_id),
        status=ticket_pb2.TICKET_STATUS_REFUNDED,
        issue=1,
    )
    request = revocation_service_pb2.RevokeTicketsRequest(event_id=str(ticket.event_id), revocations=[revocation])
    return (await service.revocations.RevokeTickets(request, metadata=service.peer)).outcomes[0].revoked


async def test_an_annulled_check_in_is_reported_and_admits_again(database, service):
    ticket = database.ticket(database.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    annulled = await annul(service, scan.scan_id)
    assert annulled.HasField("annul_time")
    [row] = database.rows("tickets")
    assert (row["check_in_time"], row["inside"], row["sequence"]) == (None, False, 2)
    again = await service.scan(ticket.event_id, ticket.token)
    assert again.verdict == ADMITTED
    assert not await revoke(service, ticket)
    await annul(service, again.scan_id)
    assert await revoke(service, ticket)


async def annulment_incidents(service, event_id) -> list[list[str]]:
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    listed = (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents
    assert {one.kind for one in listed} <= {scan_pb2.INCIDENT_KIND_REPEATED_ANNULMENT}
    return [[scan.scan_id for scan in one.scans] for one in listed]


async def test_one_ticket_annulled_twice_is_an_incident(database, service):
    """Three people could have entered with the ticket."""
    event_id = database.event()
    ticket, other = database.ticket(event_id), database.ticket(event_id)
    annulled = []
    for _ in range(2):
        assert await annulment_incidents(service, event_id) == []
        scan = await service.scan(event_id, ticket.token)
        annulled.append((await annul(service, scan.scan_id)).scan_id)
        # The annulments of other tickets do not count.
        await annul(service, (await service.scan(event_id, database.ticket(event_id).token)).scan_id)
    assert (await service.scan(event_id, ticket.token)).verdict == ADMITTED
    await annul(service, (await service.scan(event_id, other.token)).scan_id)
    assert await annulment_incidents(service, event_id) == [annulled]
    [incident] = [row for row in database.rows("incidents") if row["kind"] == "REPEATED_ANNULMENT"]
    assert incident["ticket_id"] == ticket.ticket_id


async def test_scans_of_one_ticket_in_one_batch_keep_their_order(database, service):
    """Their times differ: otherwise their ids would decide the order when the state is folded again."""
    ticket = database.ticket(database.event(admission_policy="RE_ENTRY"))
    device = Device(service)
    await device.open(ticket.event_id)
    with database.engine.begin() as connection:
        # While the event row is locked, the scans gather.
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        await device.ask("nothing")
        for number in range(9, 0, -1):
            kind = scan_pb2.SCAN_TYPE_CHECK_IN if number % 2 else OUT
            await device.ask(ticket.token, str(uuid.UUID(int=number)), scan_type=kind)
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    answers = [(await device.receive()).result for _ in range(10)][1:]
    assert [answer.verdict for answer in answers] == [ADMITTED] * 9
    times = [answer.scan_time.ToNanoseconds() for answer in answers]
    assert times == sorted(set(times))
    await annul(service, answers[-1].scan_id)
    assert not database.rows("tickets")[0]["inside"]


async def test_repeating_an_annulment_changes_nothing(database, service):
    ticket = database.ticket(database.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    first = await annul(service, scan.scan_id)
    service.clock.advance(timedelta(hours=1))
    assert await annul(service, scan.scan_id) == first
    assert database.rows("tickets")[0]["sequence"] == 2


async def test_an_annulled_check_out_leaves_the_person_inside(database, service):
    ticket = database.ticket(database.event(admission_policy="RE_ENTRY"))
    await service.scan(ticket.event_id, ticket.token)
    leaving = await service.scan(ticket.event_id, ticket.token, scan_type=OUT)
    await annul(service, leaving.scan_id)
    assert (await service.scan(ticket.event_id, ticket.token)).denial_reason == (
        scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    )


async def test_a_gate_annuls_only_its_own_latest_recent_scan(database, service, issuer):
    ticket = database.ticket(database.event(admission_policy="RE_ENTRY"))
    first = await service.scan(ticket.event_id, ticket.token)
    denied = await service.scan(ticket.event_id, ticket.token)
    other = issuer.metadata("scanner", "other")
    assert await refused(service, denied.scan_id) == ("SCAN_NOT_ANNULLABLE", "it was denied anyway")
    assert await refused(service, first.scan_id, other) == ("SCAN_NOT_ANNULLABLE", "it was made by another device")
    second = await service.scan(ticket.event_id, ticket.token, scan_type=OUT)
    assert await refused(service, first.scan_id) == ("SCAN_NOT_ANNULLABLE", "it is not the ticket's latest")
    service.clock.advance(timedelta(minutes=15, seconds=1))
    assert await refused(service, second.scan_id) == ("SCAN_NOT_ANNULLABLE", "it is older than 15 minutes")


@pytest.mark.parametrize(("role", "subject"), [("organizer", "orga"), ("service", "shop")])
async def test_organizers_and_services_annul_without_the_limits(database, service, issuer, role, subject):
    ticket = database.ticket(database.event(admission_policy="RE_ENTRY"))
    first = await service.scan(ticket.event_id, ticket.token)
    await service.scan(ticket.event_id, ticket.token, scan_type=OUT)
    service.clock.advance(timedelta(hours=2))
    later = service.clock() + timedelta(hours=1)
    assert (await annul(service, first.scan_id, issuer.metadata(role, subject, exp=later))).HasField("annul_time")
    [row] = database.rows("tickets")
    assert (row["check_in_time"], row["inside"], row["sequence"]) == (None, False, 2)


async def test_unknown_and_foreign_scans_are_not_found(database, service, issuer):
    ticket = database.ticket(database.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    assert (await refused(service, str(uuid.uuid4())))[0] == "SCAN_NOT_FOUND"
    assert (await refused(service, scan.scan_id, issuer.metadata("organizer", "other")))[0] == "SCAN_NOT_FOUND"
    assert (await refusal(annul(service, "x"))).fields == {"scan_id"}


async def test_a_failed_passage_annuls_and_a_passage_is_not_answered(database, service):
    ticket = database.ticket(database.event())
    device = Device(service)
    await device.open(ticket.event_id)
    first = await device.scan(ticket.token)
    await device.send(passage=pb.Passage(scan_id=first.scan_id))
    annulled = (await device.receive()).annulled
    assert (annulled.scan_id, annulled.HasField("annul_time")) == (first.scan_id, True)
    second = await device.scan(ticket.token)
    await device.send(passage=pb.Passage(scan_id=second.scan_id, passed=True))
    assert (await device.scan(ticket.token)).previous.scan_id == second.scan_id


async def test_a_passage_of_no_admitted_scan_is_rejected(database, service):
    ticket = database.ticket(database.event())
    device = Device(service)
    await device.open(ticket.event_id)
    unknown = str(uuid.uuid4())
    denied = await device.scan("nothing")
    expected = {
        unknown: error_reason_pb2.ERROR_REASON_SCAN_NOT_FOUND,
        denied.scan_id: error_reason_pb2.ERROR_REASON_SCAN_NOT_ANNULLABLE,
        "x": error_reason_pb2.ERROR_REASON_INVALID_ARGUMENT,
    }
    for scan_id in expected:
        await device.send(passage=pb.Passage(scan_id=scan_id))
    await device.call.done_writing()
    rejections = [(await device.receive()).rejected for _ in expected]
    assert {rejected.scan_id: rejected.reason for rejected in rejections} == expected
    assert await device.receive() is grpc.aio.EOF


async def test_a_stream_cancelled_during_an_annulment_leaves_no_task(database, service):
    ticket = database.ticket(database.event())
    device = Device(service)
    await device.open(ticket.event_id)
    scan = await device.scan(ticket.token)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        await device.send(passage=pb.Passage(scan_id=scan.scan_id))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        [annulling] = [task for task in asyncio.all_tasks() if task.get_name() == "annulment"]
        device.call.cancel()
    await until(lambda: database.rows("scans")[0]["annul_time"])
    # The commit is visible before the task of the annulment continues.
    await asyncio.wait({annulling}, timeout=20)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "annulment"]


@pytest.mark.slow
async def test_racing_annulment_revocation_and_scan_fit_the_record(database, service):
    chance = random.Random(20260702)
    event_id = database.event()

    async def race() -> None:
        ticket = database.ticket(event_id)
        first = await service.scan(event_id, ticket.token)
        calls = {
            "annulled": annul(service, first.scan_id),
            "revoked": revoke(service, ticket),
            "again": service.scan(event_id, ticket.token),
        }
        names = chance.sample(sorted(calls), 3)
        results = dict(zip(names, await asyncio.gather(*(calls[name] for name in names)), strict=True))
        # The first scan is the latest one, or the second one is denied: the annulment is never refused.
        assert results["annulled"].HasField("annul_time")
        again, revoked = results["again"].verdict == ADMITTED, results["revoked"]
        assert not (again and revoked)
        columns = "check_in_time IS NOT NULL, status = 'REFUNDED'"
        row = database.value(f"SELECT ({columns})::text FROM tickets WHERE ticket_id = '{ticket.ticket_id}'")
        assert row == f"({'ft'[again]},{'ft'[revoked]})"

    for _ in range(10):
        await asyncio.gather(*(race() for _ in range(10)))
