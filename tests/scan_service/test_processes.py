"""Tests of several processes on one database, and of their kill."""

import asyncio
import random
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.environment.access import PEER_METADATA, Issuer
from tests.processes.service import ServiceProcess
from tests.scanning.gates import ScansDatabase, variables_of
from ticketing.scans.v1 import error_reason_pb2, revocation_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import ticket_pb2

pytestmark = pytest.mark.slow

ADMITTED = scan_pb2.VERDICT_ADMITTED


class Process:
    """A scan service in a process of its own, with the stubs of its callers."""

    # The stubs are typed for a synchronous client.
    scans: Any
    revocations: Any

    def __init__(self, process: ServiceProcess, channel: grpc.aio.Channel) -> None:
        self.scans, self.revocations = ScanServiceStub(channel), RevocationServiceStub(channel)
        self.kill = partial(process.end, signal.SIGKILL)


class Processes:
    """The scan services of one database, each in a process of its own."""

    def __init__(self, variables: dict[str, str], metadata: Any, stack: AsyncExitStack) -> None:
        self.metadata = metadata
        self._variables = variables
        self._stack = stack

    async def start(self) -> Process:
        process = ServiceProcess("scan_service", self._variables)
        self._stack.callback(process.end)
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(process.address))
        return Process(process, channel)


@pytest.fixture
async def processes(database: ScansDatabase, issuer: Issuer, tmp_path: Path) -> AsyncIterator[Processes]:
    url = database.url.render_as_string(hide_password=False)
    async with AsyncExitStack() as stack:
        variables = {**variables_of(tmp_path, issuer), "SCANS_DATABASE_URL": url}
        yield Processes(variables, issuer.metadata("scanner", "sam"), stack)


def request(event_id, code, scan_id=None) -> pb.ScanTicketRequest:
    return pb.ScanTicketRequest(
        gate=scan_pb2.Gate(event_id=str(event_id), location="North"),
        attempt=pb.ScanAttempt(scan_id=scan_id or str(uuid.uuid4()), code=code),
    )


@pytest.mark.timeout(180)
async def test_a_ticket_at_fifty_gates_of_two_processes_is_admitted_once(database, processes):
    event_id = database.event()
    services = [await processes.start(), await processes.start()]
    # The feed contains one ticket; only its token proves the other.
    for ticket in (database.ticket(event_id), database.unknown(event_id)):
        calls = [services[n % 2].scans.StreamScans(metadata=processes.metadata) for n in range(50)]
        for call in calls:
            await call.write(pb.StreamScansRequest(open=scan_pb2.Gate(event_id=str(event_id))))
            assert (await call.read()).HasField("opened")
        scans = [
            pb.StreamScansRequest(scan=pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=ticket.token)) for _ in calls
        ]
        for call, scan in zip(calls, scans, strict=True):
            await call.write(scan)
        verdicts = []
        for call, scan in zip(calls, scans, strict=True):
            while not (answer := await call.read()).HasField("result"):
                # All wait for one row, on a busy machine longer than a scan may wait; a device sends its scan again.
                assert answer.rejected.reason == error_reason_pb2.ERROR_REASON_OVERLOADED
                await call.write(scan)
            verdicts.append(answer.result.verdict)
        assert verdicts.count(ADMITTED) == 1
        for call in calls:
            call.cancel()
    assert len(database.rows("scans")) == 100


@pytest.mark.timeout(180)
async def test_one_scan_id_at_two_processes_at_once_is_one_scan(database, processes):
    event_id = database.event()
    services = [await processes.start(), await processes.start()]
    for _ in range(30):
        asked = request(event_id, database.ticket(event_id).token)
        answers = await asyncio.gather(
            *(service.scans.ScanTicket(asked, metadata=processes.metadata, timeout=20) for service in services)
        )
        assert answers[0] == answers[1]
    assert len(database.rows("scans")) == 30


@pytest.mark.timeout(180)
async def test_a_scan_and_a_revocation_elsewhere_never_both_win(database, processes):
    chance = random.Random(42)
    event_id = database.event()
    services = [await processes.start(), await processes.start()]

    async def race(ticket) -> bool:
        revocation = revocation_service_pb2.Revocation(
            revocation_id=str(uuid.uuid4()),
            ticket_id=str(ticket.ticket_id),
            status=ticket_pb2.TICKET_STATUS_REFUNDED,
            issue=1,
        )
        asked = revocation_service_pb2.RevokeTicketsRequest(event_id=str(event_id), revocations=[revocation])
        scanned = asyncio.ensure_future(
            services[0].scans.ScanTicket(request(event_id, ticket.token), metadata=processes.metadata, timeout=20)
        )
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.003)))
        revoked = await services[1].revocations.RevokeTickets(asked, metadata=PEER_METADATA, timeout=20)
        return ((await scanned).scan.verdict == ADMITTED) != revoked.outcomes[0].revoked

    for _ in range(10):
        tickets = [database.ticket(event_id) if n % 2 else database.unknown(event_id) for n in range(20)]
        assert all(await asyncio.gather(*(race(ticket) for ticket in tickets)))


@pytest.mark.timeout(180)
async def test_every_answer_survives_a_kill_of_the_process(database, processes):
    event_id = database.event()
    service = await processes.start()
    tickets = [database.ticket(event_id) for _ in range(40)]
    answered: list[scan_pb2.Scan] = []
    asked: list[pb.ScanTicketRequest] = []

    async def device(number: int) -> None:
        while True:
            asked.append(request(event_id, tickets[(number + len(asked)) % 40].token))
            try:
                response = await service.scans.ScanTicket(asked[-1], metadata=processes.metadata, timeout=20)
            except grpc.aio.AioRpcError:
                return
            answered.append(response.scan)
            if len(answered) == 100:
                service.kill()

    await asyncio.gather(*(device(number) for number in range(16)))
    recorded = {str(row["scan_id"]): row["verdict"] for row in database.rows("scans")}
    assert len(answered) >= 100
    assert all(recorded[scan.scan_id] == scan_pb2.Verdict.Name(scan.verdict)[8:] for scan in answered)
    # The next process answers repeated scans with their first answers.
    successor = await processes.start()
    requests = {one.attempt.scan_id: one for one in asked}
    for scan in answered[:20]:
        repeated = requests[scan.scan_id]
        response = await successor.scans.ScanTicket(repeated, metadata=processes.metadata, timeout=20)
        assert response.scan == scan


@pytest.mark.timeout(180)
async def test_an_event_closes_while_two_processes_scan(database, processes):
    event_id = database.event()
    services = [await processes.start(), await processes.start()]
    closed = asyncio.Event()
    late: list[int] = []

    async def device(service: Process) -> None:
        while True:
            asked_after = closed.is_set()
            asked = request(event_id, database.unknown(event_id).token)
            verdict = (await service.scans.ScanTicket(asked, metadata=processes.metadata, timeout=20)).scan.verdict
            if asked_after:
                late.append(verdict)
                return

    devices = [asyncio.create_task(device(services[number % 2])) for number in range(16)]
    # Gates scan for a while before the event is closed.
    await asyncio.sleep(0.5)
    asked = revocation_service_pb2.RevokeEventRequest(event_id=str(event_id))
    response = await services[0].revocations.RevokeEvent(asked, metadata=PEER_METADATA, timeout=20)
    closed.set()
    await asyncio.gather(*devices)
    assert set(late) == {scan_pb2.VERDICT_DENIED}
    admitted = [row for row in database.rows("scans") if row["verdict"] == "ADMITTED"]
    assert len(admitted) == response.checked_in > 0


@pytest.mark.timeout(180)
async def test_groups_at_gates_of_two_processes_are_admitted_once(database, processes):
    chance = random.Random(7)
    event_id = database.event()
    services = [await processes.start(), await processes.start()]

    async def scan(ticket, count: int) -> scan_pb2.Scan:
        asked = request(event_id, ticket.code)
        asked.attempt.group_count = count
        service = chance.choice(services)
        return (await service.scans.ScanTicket(asked, metadata=processes.metadata, timeout=20)).scan

    for _ in range(12):
        purchase_id = uuid.uuid4()
        group = [database.ticket(event_id, ticket_type="GROUP", purchase_id=purchase_id) for _ in range(8)]
        # Every gate scans another ticket of the group, and some scan them singly.
        scans = [scan(ticket, chance.choice((0, 1, 2, 3, 5))) for ticket in group * 2]
        answers = await asyncio.gather(*scans)
        # Those who were denied try again with the number that is left.
        left = max(answer.group.left for answer in answers if answer.HasField("group"))
        answers += [await scan(ticket, left) for ticket in group] if left else []
        admitted = [ticket for answer in answers for ticket in answer.group.ticket_ids]
        admitted += [
            answer.ticket_id for answer in answers if answer.verdict == ADMITTED and not answer.HasField("group")
        ]
        assert len(admitted) == len(set(admitted)) <= 8
        for answer in answers:
            if answer.HasField("group"):
                assert len(answer.group.ticket_ids) == (answer.group.count if answer.verdict == ADMITTED else 0)
    recorded = [row["ticket_id"] for row in database.rows("scans") if row["verdict"] == "ADMITTED"]
    assert len(recorded) == len(set(recorded)) == sum(row["inside"] for row in database.rows("tickets"))
