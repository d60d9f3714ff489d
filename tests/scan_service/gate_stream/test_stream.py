"""A gate's stream, over a real socket."""

import asyncio
import uuid
from datetime import timedelta

import grpc
import pytest

from tests.environment.refusals import reason_of
from tests.environment.waiting import until
from tests.scanning.gates import Device
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

ADMITTED = scan_pb2.VERDICT_ADMITTED
INVALID = error_reason_pb2.ERROR_REASON_INVALID_ARGUMENT


async def test_a_gate_opens_and_admits(copy, service):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    device = Device(service)
    opened = await device.open(event_id)
    assert (opened.event_name, opened.max_outstanding_scans) == ("Concert", 64)
    assert not opened.HasField("replica_lag")
    assert (await device.scan(ticket.token)).verdict == ADMITTED
    await device.call.done_writing()
    assert await device.receive() is grpc.aio.EOF


async def test_scans_sent_without_waiting_are_answered_in_their_order(copy, service):
    event_id = copy.event()
    device = Device(service)
    await device.open(event_id)
    scan_ids = [str(uuid.uuid4()) for _ in range(60)]
    for scan_id in scan_ids:
        await device.ask("nothing", scan_id)
    assert [(await device.receive()).result.scan_id for _ in scan_ids] == scan_ids


async def test_half_closing_still_answers_what_was_sent(copy, service):
    event_id = copy.event()
    device = Device(service)
    await device.open(event_id)
    for _ in range(20):
        await device.ask("nothing")
    await device.call.done_writing()
    assert [(await device.receive()).HasField("result") for _ in range(20)] == [True] * 20
    assert await device.receive() is grpc.aio.EOF
    assert await device.call.code() == grpc.StatusCode.OK


async def test_a_stream_that_does_not_begin_with_open_is_ended(copy, service):
    device = Device(service)
    await device.ask("nothing")
    with pytest.raises(grpc.aio.AioRpcError) as end:
        await device.receive()
    assert (end.value.code(), reason_of(end.value)) == (grpc.StatusCode.FAILED_PRECONDITION, "GATE_NOT_OPEN")


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
    with pytest.raises(grpc.aio.AioRpcError) as end:
        await device.receive()
    assert reason_of(end.value) == expected


async def test_opening_again_moves_the_gate_for_later_scans(copy, service):
    first, second = copy.event(), copy.event()
    tickets = [copy.ticket(first), copy.ticket(second)]
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


async def test_an_organizer_opens_only_gates_of_their_own_events(copy, service, issuer):
    event_id = copy.event(organizer_id="orga")
    own = Device(service, issuer.metadata("organizer", "orga"))
    assert (await own.open(event_id)).event_name == "Concert"
    foreign = Device(service, issuer.metadata("organizer", "other"))
    await foreign.send(open=scan_pb2.Gate(event_id=str(event_id)))
    with pytest.raises(grpc.aio.AioRpcError) as end:
        await foreign.receive()
    assert reason_of(end.value) == "EVENT_NOT_FOUND"


@pytest.mark.parametrize(
    ("message", "scan_id"),
    [
        ({"scan": pb.ScanAttempt(scan_id="no uuid", code="x")}, "no uuid"),
        ({"scan": pb.ScanAttempt(code="x")}, ""),
        ({"scan": pb.ScanAttempt(scan_id=str(uuid.UUID(int=7)), code="x" * 4097)}, str(uuid.UUID(int=7))),
        ({"scan": pb.ScanAttempt(scan_id=str(uuid.UUID(int=7)), scan_type=9)}, str(uuid.UUID(int=7))),  # type: ignore[arg-type]  # no such type
        ({"scan": pb.ScanAttempt(scan_id=str(uuid.UUID(int=7)), offline=pb.OfflineDecision())}, str(uuid.UUID(int=7))),
        ({"passage": pb.Passage(scan_id="p")}, "p"),
        ({"upload": pb.Upload(scans=[pb.ScanAttempt()] * 501)}, ""),
        ({}, ""),
    ],
)
async def test_a_message_at_fault_is_rejected_and_the_stream_goes_on(copy, service, message, scan_id):
    event_id = copy.event()
    device = Device(service)
    await device.open(event_id)
    await device.send(**message)
    rejected = (await device.receive()).rejected
    assert (rejected.reason, rejected.scan_id) == (INVALID, scan_id)
    assert (await device.scan("nothing")).verdict == scan_pb2.VERDICT_DENIED


async def test_a_message_of_garbage_is_rejected_and_the_stream_goes_on(copy, service):
    event_id = copy.event()
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


async def test_a_scan_id_used_for_another_scan_is_rejected(copy, service):
    device = Device(service)
    await device.open(copy.event())
    scan = await device.scan("one thing")
    await device.ask("another", scan.scan_id)
    await device.ask("one thing", scan.scan_id)
    assert (await device.receive()).rejected.reason == error_reason_pb2.ERROR_REASON_SCAN_ID_REUSED
    assert (await device.receive()).result == scan


async def test_a_credential_that_expires_ends_the_stream(copy, service, issuer):
    device = Device(service, issuer.metadata("scanner", exp=service.clock().timestamp() + 60))
    await device.open(copy.event())
    service.clock.advance(timedelta(seconds=120))
    await device.ask("nothing")
    with pytest.raises(grpc.aio.AioRpcError) as end:
        await device.receive()
    assert reason_of(end.value) == "UNAUTHENTICATED"


async def test_draining_asks_devices_to_connect_again_and_ends_their_streams(copy, service):
    device = Device(service)
    await device.open(copy.event())
    await device.ask("nothing")
    assert (await device.receive()).HasField("result")
    stopping = asyncio.create_task(service.app.stop())
    assert (await device.receive()).reconnect.within.seconds == 2
    assert await device.receive() is grpc.aio.EOF
    await stopping


async def test_draining_answers_what_was_taken_before_it_asks_to_connect_again(copy, service):
    event_id = copy.event()
    device = Device(service)
    await device.open(event_id)
    with copy.engine.begin() as connection:
        # While the event's row is held, no scan is answered.
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        await device.ask("nothing")
        await until(lambda: copy.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        stopping = asyncio.create_task(service.app.stop())
        for _ in range(5):
            await device.ask("too late, or just in time")
    kinds = []
    while (message := await device.receive()) is not grpc.aio.EOF:
        kinds.append(message.WhichOneof("message"))
    assert kinds[0] == "result"
    assert kinds.index("reconnect") == len(kinds) - 1
    await stopping


async def test_a_device_that_goes_away_leaves_nothing_behind(copy, service):
    before = asyncio.all_tasks()
    device = Device(service)
    await device.open(copy.event())
    for _ in range(30):
        await device.ask("nothing")
    device.call.cancel()
    await until(lambda: not any("stream reader" in task.get_name() for task in asyncio.all_tasks() - before))
