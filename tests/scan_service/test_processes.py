"""Tests of several processes on one database, and of their kill."""

import asyncio
import json
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from tests.environment import ROOT
from tests.environment.access import CODE_SECRET, PEER_METADATA, PEER_SECRET, Issuer
from tests.scanning.gates import ScansDatabase
from ticketing.scans.v1 import revocation_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import ticket_pb2

pytestmark = pytest.mark.slow

ADMITTED = scan_pb2.VERDICT_ADMITTED
# A process imports, migrates and listens, which takes long on a busy machine.
START_SECONDS = 60


@dataclass
class Process:
    """A scan service in a process of its own."""

    process: asyncio.subprocess.Process
    # The stubs are typed for a synchronous client.
    scans: Any
    revocations: Any

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


class Processes:
    """The scan services of one database, each in a process of its own."""

    def __init__(self, url: URL, issuer: Issuer, data_dir: Path, stack: AsyncExitStack) -> None:
        self._issuer = issuer
        self._stack = stack
        self._environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}",
            "SCANS_PORT": "0",
            "SCANS_METRICS_PORT": "0",
            "SCANS_DATABASE_URL": url.render_as_string(hide_password=False),
            "SCANS_TICKETS_ADDRESS": "127.0.0.1:1",
            "TICKETING_DATA_DIR": str(data_dir),
            "TICKETING_JWKS_FILE": str(issuer.jwks_file),
            "TICKETING_PEER_SECRET": PEER_SECRET,
            "TICKETING_CODE_SECRET": CODE_SECRET,
        }

    @property
    def metadata(self):
        return self._issuer.metadata("scanner", "sam")

    async def start(self) -> Process:
        return await self._stack.enter_async_context(self._run())

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scan_service", env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        port = await _port(process)
        # The output is read to the end: a full pipe would block the process.
        assert process.stderr is not None
        draining = asyncio.create_task(process.stderr.read())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Process(process, ScanServiceStub(channel), RevocationServiceStub(channel))
        if process.returncode is None:
            process.terminate()
        await draining
        await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    said = []
    assert process.stderr is not None
    async with asyncio.timeout(START_SECONDS):
        while line := await process.stderr.readline():
            said.append(line.decode())
            if line.startswith(b"{") and (entry := json.loads(line))["message"] == "serving":
                return entry["port"]
    pytest.fail("the service ended before it served:\n" + "".join(said))


@pytest.fixture
async def processes(database: ScansDatabase, issuer: Issuer, tmp_path: Path) -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        yield Processes(database.url, issuer, tmp_path, stack)


def request(event_id, code, scan_id=None) -> pb.ScanTicketRequest:
    return pb.ScanTicketRequest(
        gate=scan_pb2.Gate(event_id=str(event_id), location="North"),
        attempt=pb.ScanAttempt(scan_id=scan_id or str(uuid.uuid4()), code=code),
    )


@pytest.mark.timeout(180)
async def test_a_ticket_at_fifty_gates_of_two_processes_is_admitted_once(database, processes):
    event_id = database.event()
    services = [await processes.start(), await processes.start()]
    # One ticket from the feed, and one that only its token proves.
    for ticket in (database.ticket(event_id), database.unknown(event_id)):
        calls = [services[n % 2].scans.StreamScans(metadata=processes.metadata) for n in range(50)]
        for call in calls:
            await call.write(pb.StreamScansRequest(open=scan_pb2.Gate(event_id=str(event_id))))
            assert (await call.read()).HasField("opened")
        for call in calls:
            scan = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=ticket.token)
            await call.write(pb.StreamScansRequest(scan=scan))
        verdicts = [(await call.read()).result.verdict for call in calls]
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
    # The load before the event is closed.
    await asyncio.sleep(0.5)
    asked = revocation_service_pb2.RevokeEventRequest(event_id=str(event_id))
    response = await services[0].revocations.RevokeEvent(asked, metadata=PEER_METADATA, timeout=20)
    closed.set()
    await asyncio.gather(*devices)
    assert set(late) == {scan_pb2.VERDICT_DENIED}
    admitted = [row for row in database.rows("scans") if row["verdict"] == "ADMITTED"]
    assert len(admitted) == response.checked_in > 0
