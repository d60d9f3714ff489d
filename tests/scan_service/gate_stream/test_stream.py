"""Tests of a gate's stream over a real socket."""

import asyncio
import uuid
from datetime import timedelta

import grpc
import pytest

from scan_service.gate_stream import stream
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Device
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

ADMITTED = scan_pb2.VERDICT_ADMITTED
INVALID = error_reason_pb2.ERROR_REASON_INVALID_ARGUMENT


async def test_a_gate_opens_and_admits(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    device = Device(service)
    opened = await device.open(event_id)
    assert (opened.event_name, opened.max_outstanding_scans) == ("Concert", 64)
    assert not opened.HasField("replica_lag")
    assert (await device.scan(ticket.token)).verdict == ADMITTED
    await device.call.done_writing()
    assert await device.receive() is grpc.aio.EOF


async def test_scans_sent_without_waiting_are_answered_in_their_order(database, service):
    event_id = database.event()
    device = Device(service)
    await device.open(event_id)
    scan_ids = [str(uuid.uuid4()) for _ in range(60)]
    for scan_id in scan_ids:
        await device.ask("nothing", scan_id)
    assert [(await device.receive()).result.scan_id for _ in scan_ids] == scan_ids


async def test_scans_sent_before_half_closing_are_answered(database, service):
    event_id = database.event()
    device = Device(service)
    await device.open(event_id)
    for _ in range(20):
        await device.ask("nothing")
    await device.call.done_writing()
    assert [(await device.receive()).HasField("result") for _ in range(20)] == [True] * 20
    assert await device.receive() is grpc.aio.EOF
    assert await device.call.code() == grpc.StatusCode.OK


async def test_a_stream_without_open_as_first_message_ends(database, service):
    device = Device(service)
    await device.ask("nothing")
    refused = await refusal(device.receive())
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GATE_NOT_OPEN")


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ({"event_id": str(uuid.uuid4())}, "EVENT_NOT_FOUND"),
        ({"event_id": "x"}, "INVALID_ARGUMENT"),
        ({"event_id": str(uuid.uuid4()), "location": "x" * 101}, "INVALID_ARGUMENT"),
    ],
)
async def test_a_gate_that_cannot_be_opened_ends_the_stream(service, gate, expected):
    device = Device(service)
    await device.send(open=scan_pb2.Gate(**gate))
    assert (await refusal(device.receive())).reason == expected


async def test_opening_again_moves_the_gate_for_later_scans(database, service):
    first, second = database.event(), database.event()
    tickets = [database.ticket(first), database.ticket(second)]
    device = Device(service)
    await device.open(first)
    await device.ask(tickets[0].token)
    await device.send(open=scan_pb2.Gate(event_id=str(second), location="South"))
    await device.ask(tickets[1].token)
    answers = [await device.receive() for _ in range(3)]
    assert [answer.WhichOneof("message") for answer in answers] == ["result", "opened", "result"]
    assert [(a.result.verdict, a.result.location) for a in (answers[0], answers[2])] == [
        (ADMITTED, "North"),
        (ADMITTED, "South"),
    ]


async def test_an_organizer_opens_only_gates_of_their_own_events(database, service, issuer):
    event_id = database.event(organizer_id="orga")
    own = Device(service, issuer.metadata("organizer", "orga"))
    assert (await own.open(event_id)).event_name == "Concert"
    foreign = Device(service, issuer.metadata("organizer", "other"))
    await foreign.send(open=scan_pb2.Gate(event_id=str(event_id)))
    assert (await refusal(foreign.receive())).reason == "EVENT_NOT_FOUND"


@pytest.mark.parametrize(
    ("message", "scan_id"),
    [
        ({"scan": pb.ScanAttempt(scan_id="no uuid", code="x")}, "no uuid"),
        ({"scan": pb.ScanAttempt(code="x")}, ""),
        ({"scan": pb.ScanAttempt(scan_id=str(uuid.UUID(int=7)), code="x" * 4097)}, str(uuid.UUID(int=7))),
        ({"scan": pb.ScanAttempt(scan_id=str(uuid.UUID(int=7)), scan_type=9)}, str(uuid.UUID(int=7))),  # type: ignore[arg-type]  # an undefined value
        ({"scan": pb.ScanAttempt(scan_id=str(uuid.UUID(int=7)), offline=pb.OfflineDecision())}, str(uuid.UUID(int=7))),
        ({"passage": pb.Passage(scan_id="p")}, "p"),
        ({"upload": pb.Upload(scans=[pb.ScanAttempt()] * 501)}, ""),
        ({}, ""),
    ],
)
async def test_an_invalid_message_is_rejected_and_the_stream_continues(database, service, message, scan_id):
    event_id = database.event()
    device = Device(service)
    await device.open(event_id)
    await device.send(**message)
    rejected = (await device.receive()).rejected
    assert (rejected.reason, rejected.scan_id) == (INVALID, scan_id)
    assert (await device.scan("nothing")).verdict == scan_pb2.VERDICT_DENIED


async def test_a_malformed_message_is_rejected_and_the_stream_continues(database, service):
    event_id = database.event()
    method = "/ticketing.scans.v1.ScanService/StreamScans"
    raw = service.channel.stream_stream(method, response_deserializer=pb.StreamScansResponse.FromString)
    call = raw(metadata=service.scanner)
    await call.write(pb.StreamScansRequest(open=scan_pb2.Gate(event_id=str(event_id))).SerializeToString())
    await call.read()
    # A scan whose code is not UTF-8, then a truncated message.
    for garbage in (b"\x12\x04\x12\x02\xff\xff", b"\x12\x7f"):
        await call.write(garbage)
        assert (await call.read()).rejected.reason == INVALID
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_scan_id_used_for_another_scan_is_rejected(database, service):
    device = Device(service)
    await device.open(database.event())
    scan = await device.scan("one thing")
    await device.ask("another", scan.scan_id)
    await device.ask("one thing", scan.scan_id)
    assert (await device.receive()).rejected.reason == error_reason_pb2.ERROR_REASON_SCAN_ID_REUSED
    assert (await device.receive()).result == scan


async def test_a_credential_that_expires_ends_the_stream(database, service, issuer):
    device = Device(service, issuer.metadata("scanner", exp=service.clock().timestamp() + 60))
    await device.open(database.event())
    service.clock.advance(timedelta(seconds=120))
    await device.ask("nothing")
    assert (await refusal(device.receive())).reason == "UNAUTHENTICATED"


async def test_draining_asks_devices_to_reconnect_and_ends_streams(database, service):
    device = Device(service)
    await device.open(database.event())
    await device.ask("nothing")
    assert (await device.receive()).HasField("result")
    stopping = asyncio.create_task(service.app.stop())
    assert (await device.receive()).reconnect.within.seconds == 2
    # The stream ends after its device has closed its side: a reset before would reach the device through a proxy.
    end = asyncio.ensure_future(device.receive())
    await device.ask("too late")
    for _ in range(10):
        await asyncio.sleep(0)
    assert not end.done()
    await device.call.done_writing()
    assert await end is grpc.aio.EOF
    assert await device.call.code() == grpc.StatusCode.OK
    await stopping


async def test_draining_waits_a_bounded_time_for_devices_to_close(database, service, monkeypatch):
    monkeypatch.setattr(stream, "RECONNECT_WITHIN", timedelta(seconds=0.1))
    device = Device(service)
    await device.open(database.event())
    stopping = asyncio.create_task(service.app.stop())
    assert (await device.receive()).HasField("reconnect")
    assert await device.receive() is grpc.aio.EOF
    await stopping


async def test_draining_answers_accepted_scans_before_reconnect(database, service):
    event_id = database.event()
    device = Device(service)
    await device.open(event_id)
    with database.engine.begin() as connection:
        # While the event row is locked, no scan is answered.
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        await device.ask("nothing")
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        stopping = asyncio.create_task(service.app.stop())
        for _ in range(5):
            await device.ask("too late, or just in time")
    kinds = []
    while (message := await device.receive()) is not grpc.aio.EOF:
        kinds.append(message.WhichOneof("message"))
        if kinds[-1] == "reconnect":
            await device.call.done_writing()
    assert kinds[0] == "result"
    assert kinds.index("reconnect") == len(kinds) - 1
    await stopping


async def test_a_cancelled_stream_leaves_no_task(database, service):
    before = asyncio.all_tasks()
    device = Device(service)
    await device.open(database.event())
    for _ in range(30):
        await device.ask("nothing")
    device.call.cancel()
    await until(lambda: not any("stream reader" in task.get_name() for task in asyncio.all_tasks() - before))
