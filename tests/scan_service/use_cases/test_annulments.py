"""Taking scans back: by a passage on a gate's stream, and by AnnulScan."""

import asyncio
import random
import uuid
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.environment.refusals import detail_of, reason_of, violations_of
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
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await annul(service, scan_id, metadata)
    info = detail_of(refusal.value, error_details_pb2.ErrorInfo)
    return reason_of(refusal.value), info.metadata.get("cause", "")


async def revoke(service, ticket) -> bool:
    revocation = revocation_service_pb2.Revocation(
        revocation_id=str(uuid.uuid4()),
        ticket_id=str(ticket.ticket_id),
        status=ticket_pb2.TICKET_STATUS_REFUNDED,
        issue=1,
    )
    request = revocation_service_pb2.RevokeTicketsRequest(event_id=str(ticket.event_id), revocations=[revocation])
    return (await service.revocations.RevokeTickets(request, metadata=service.peer)).outcomes[0].revoked


async def test_an_annulled_check_in_frees_the_ticket_and_is_reported(copy, service):
    ticket = copy.ticket(copy.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    annulled = await annul(service, scan.scan_id)
    assert annulled.HasField("annul_time")
    [row] = copy.rows("tickets")
    assert (row["check_in_time"], row["inside"], row["sequence"]) == (None, False, 2)
    again = await service.scan(ticket.event_id, ticket.token)
    assert again.verdict == ADMITTED
    assert not await revoke(service, ticket)
    await annul(service, again.scan_id)
    assert await revoke(service, ticket)


async def test_scans_of_one_ticket_in_one_batch_stand_in_their_order(copy, service):
    """Their times differ, or the ids of equal ones would decide where the person is once it is made anew."""
    ticket = copy.ticket(copy.event(admission_policy="RE_ENTRY"))
    device = Device(service)
    await device.open(ticket.event_id)
    with copy.engine.begin() as connection:
        # While the event's row is held, the scans gather.
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        await device.ask("nothing")
        for number in range(9, 0, -1):
            kind = scan_pb2.SCAN_TYPE_CHECK_IN if number % 2 else OUT
            await device.ask(ticket.token, str(uuid.UUID(int=number)), scan_type=kind)
        await until(lambda: copy.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    answers = [(await device.receive()).result for _ in range(10)][1:]
    assert [answer.verdict for answer in answers] == [ADMITTED] * 9
    times = [answer.scan_time.ToNanoseconds() for answer in answers]
    assert times == sorted(set(times))
    await annul(service, answers[-1].scan_id)
    assert not copy.rows("tickets")[0]["inside"]


async def test_repeating_an_annulment_changes_nothing(copy, service):
    ticket = copy.ticket(copy.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    first = await annul(service, scan.scan_id)
    service.clock.advance(timedelta(hours=1))
    assert await annul(service, scan.scan_id) == first
    assert copy.rows("tickets")[0]["sequence"] == 2


async def test_a_check_out_taken_back_leaves_the_person_inside(copy, service):
    ticket = copy.ticket(copy.event(admission_policy="RE_ENTRY"))
    await service.scan(ticket.event_id, ticket.token)
    leaving = await service.scan(ticket.event_id, ticket.token, scan_type=OUT)
    await annul(service, leaving.scan_id)
    assert (await service.scan(ticket.event_id, ticket.token)).denial_reason == (
        scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    )


async def test_a_gate_takes_back_only_its_own_latest_and_recent_scan(copy, service, issuer):
    ticket = copy.ticket(copy.event(admission_policy="RE_ENTRY"))
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
async def test_whoever_looks_after_the_event_takes_back_without_those_limits(copy, service, issuer, role, subject):
    ticket = copy.ticket(copy.event(admission_policy="RE_ENTRY"))
    first = await service.scan(ticket.event_id, ticket.token)
    await service.scan(ticket.event_id, ticket.token, scan_type=OUT)
    service.clock.advance(timedelta(hours=2))
    later = service.clock() + timedelta(hours=1)
    assert (await annul(service, first.scan_id, issuer.metadata(role, subject, exp=later))).HasField("annul_time")
    [row] = copy.rows("tickets")
    assert (row["check_in_time"], row["inside"], row["sequence"]) == (None, False, 2)


async def test_a_scan_that_is_not_here_or_at_anothers_event_is_not_found(copy, service, issuer):
    ticket = copy.ticket(copy.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    assert (await refused(service, str(uuid.uuid4())))[0] == "SCAN_NOT_FOUND"
    assert (await refused(service, scan.scan_id, issuer.metadata("organizer", "other")))[0] == "SCAN_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await annul(service, "x")
    assert set(violations_of(refusal.value)) == {"scan_id"}


async def test_a_turnstile_that_did_not_turn_annuls_and_one_that_did_is_not_answered(copy, service):
    ticket = copy.ticket(copy.event())
    device = Device(service)
    await device.open(ticket.event_id)
    first = await device.scan(ticket.token)
    await device.send(passage=pb.Passage(scan_id=first.scan_id))
    annulled = (await device.receive()).annulled
    assert (annulled.scan_id, annulled.HasField("annul_time")) == (first.scan_id, True)
    second = await device.scan(ticket.token)
    await device.send(passage=pb.Passage(scan_id=second.scan_id, passed=True))
    assert (await device.scan(ticket.token)).previous.scan_id == second.scan_id


async def test_a_passage_that_annuls_nothing_is_rejected_and_the_stream_goes_on(copy, service):
    ticket = copy.ticket(copy.event())
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


async def test_a_device_that_leaves_while_its_scan_is_being_taken_back_leaves_nothing_behind(copy, service):
    ticket = copy.ticket(copy.event())
    device = Device(service)
    await device.open(ticket.event_id)
    scan = await device.scan(ticket.token)
    with copy.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        await device.send(passage=pb.Passage(scan_id=scan.scan_id))
        await until(lambda: copy.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        [annulling] = [task for task in asyncio.all_tasks() if task.get_name() == "annulment"]
        device.call.cancel()
    await until(lambda: copy.rows("scans")[0]["annul_time"])
    # Others see the commit before the task that made it hears of it.
    await asyncio.wait({annulling}, timeout=20)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "annulment"]


@pytest.mark.slow
async def test_of_annulment_revocation_and_scan_at_once_every_outcome_fits_the_record(copy, service):
    chance = random.Random(20260702)
    event_id = copy.event()

    async def race() -> None:
        ticket = copy.ticket(event_id)
        first = await service.scan(event_id, ticket.token)
        calls = {
            "annulled": annul(service, first.scan_id),
            "revoked": revoke(service, ticket),
            "again": service.scan(event_id, ticket.token),
        }
        names = chance.sample(sorted(calls), 3)
        results = dict(zip(names, await asyncio.gather(*(calls[name] for name in names)), strict=True))
        # The latest scan when it was asked for, or denied for standing in the way: never refused.
        assert results["annulled"].HasField("annul_time")
        again, revoked = results["again"].verdict == ADMITTED, results["revoked"]
        assert not (again and revoked)
        columns = "check_in_time IS NOT NULL, status = 'REFUNDED'"
        row = copy.value(f"SELECT ({columns})::text FROM tickets WHERE ticket_id = '{ticket.ticket_id}'")
        assert row == f"({'ft'[again]},{'ft'[revoked]})"

    for _ in range(10):
        await asyncio.gather(*(race() for _ in range(10)))
