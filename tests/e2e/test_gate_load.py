"""Many gate devices scan while processes are killed and connections break.

The default sizes keep the suite quick; TICKETING_CROWD=full runs the sizes that the documentation promises.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import grpc
import grpc.aio
import pytest

from dev.clients import free_ports
from tests.e2e.retrying_devices import RetryingDevice, Visitor, sell
from tests.e2e.service_pair import ServicePair, new_gate
from tests.environment.proxy import Proxy
from tests.processes.service import ServiceProcess
from ticketing.scans.v1 import scan_pb2, scan_service_pb2, scan_service_pb2_grpc
from ticketing.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc

pytestmark = pytest.mark.slow

FULL = os.environ.get("TICKETING_CROWD") == "full"
DEVICES, TICKETS, KILLS, CUTS = (200, 20_000, 3, 60) if FULL else (20, 400, 1, 6)
RACES = 10_000 if FULL else 150
FLOOD = 10_000
SEED = int(os.environ.get("TICKETING_SEED", "1"))


def second_scan_service(pair: ServicePair) -> ServiceProcess:
    """Start another scan service on the same database."""
    return ServiceProcess("scan_service", {**pair.variables, "SCANS_PORT": str(free_ports(1)[0])})


@pytest.mark.timeout(900 if FULL else 60)
async def test_each_scan_gets_one_answer_and_each_ticket_one_admission(pair: ServicePair) -> None:
    event, tickets = await asyncio.to_thread(sell, pair, TICKETS)
    new_gate(pair, event.event_id).close()
    seeds = random.Random(SEED)
    other = await asyncio.to_thread(second_scan_service, pair)
    networks = [
        Proxy(("127.0.0.1", int(address.rpartition(":")[2]))) for address in (pair.address("SCANS"), other.address)
    ]
    metadata = pair.issuer.metadata("scanner", "door")
    devices = [
        RetryingDevice(
            f"gate {n}", [network.address for network in networks], metadata, event.event_id, random.Random(SEED + n)
        )
        for n in range(DEVICES)
    ]
    # Every tenth ticket is scanned twice, at two gates.
    visitors = [Visitor(ticket) for ticket in tickets] + [Visitor(ticket) for ticket in tickets[::10]]
    seeds.shuffle(visitors)
    kills = [(k + 1) * len(visitors) // (KILLS + 1) for k in range(KILLS)]
    cuts = sorted(seeds.randrange(len(visitors)) for _ in range(CUTS))
    answered = 0
    moments: asyncio.Queue[str] = asyncio.Queue()

    async def work(device: RetryingDevice, share: list[Visitor]) -> None:
        nonlocal answered
        async for _ in device.admit(share):
            answered += 1
            while kills and answered >= kills[0]:
                kills.pop(0)
                moments.put_nowait("kill")
            while cuts and answered >= cuts[0]:
                cuts.pop(0)
                moments.put_nowait("cut")

    async def cause_faults() -> None:
        while (moment := await moments.get()) != "end":
            if moment == "kill":
                await asyncio.to_thread(pair.stop, "scan_service", signal.SIGKILL)
                await asyncio.to_thread(pair.start, "scan_service")
            else:
                seeds.choice(networks).cut_connections()

    breaking = asyncio.create_task(cause_faults())
    try:
        await asyncio.gather(*(work(device, visitors[n::DEVICES]) for n, device in enumerate(devices)))
    finally:
        moments.put_nowait("end")
        await breaking
    await asyncio.to_thread(check_answers, pair, event.event_id, tickets, visitors, devices)
    lost = sum(device.lost.total() for device in devices)
    print(f"seed {SEED}: {len(visitors)} visitors, {lost} connections lost in the middle, {KILLS} kills")
    assert lost > 0, "no connection broke: the test shows nothing"
    for network in networks:
        network.cut()
    assert await asyncio.to_thread(other.end) == 0


def check_answers(
    pair: ServicePair,
    event_id: str,
    tickets: list[ticket_pb2.Ticket],
    visitors: list[Visitor],
    devices: list[RetryingDevice],
) -> None:
    """Check that each scan has one final answer, each ticket one admission, and that records and counters agree."""
    answers = {scan_id: scan for device in devices for scan_id, scan in device.answers.items()}
    assert answers.keys() == {visitor.scan_id for visitor in visitors}
    admitted = Counter(scan.ticket_id for scan in answers.values() if scan.verdict == scan_pb2.VERDICT_ADMITTED)
    assert admitted == Counter({ticket.ticket_id: 1 for ticket in tickets})

    recorded = records(pair, event_id)
    assert {scan_id: scan.verdict for scan_id, scan in recorded.items()} == {
        scan_id: scan.verdict for scan_id, scan in answers.items()
    }
    door = pair.caller("organizer", "alice")
    request = scan_service_pb2.GetAttendanceRequest(event_id=event_id)
    attendance = door.ask(door.scans.GetAttendance, request).attendance
    assert (attendance.tickets, attendance.checked_in, attendance.inside) == (TICKETS, TICKETS, TICKETS)
    assert sum(gate.check_ins for gate in attendance.locations) == TICKETS
    assert sum(gate.denied for gate in attendance.locations) == len(visitors) - TICKETS


def records(pair: ServicePair, event_id: str) -> dict[str, scan_pb2.Scan]:
    """Return every recorded scan by its id."""
    door, found, token = pair.caller("scanner", "door"), dict[str, scan_pb2.Scan](), ""
    while True:
        request = scan_service_pb2.ListScansRequest(event_id=event_id, page_size=1000, page_token=token)
        page = door.ask(door.scans.ListScans, request)
        found |= {scan.scan_id: scan for scan in page.scans}
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.timeout(900 if FULL else 60)
async def test_of_a_cancellation_and_a_scan_exactly_one_wins(pair: ServicePair) -> None:
    event, tickets = await asyncio.to_thread(sell, pair, RACES)
    new_gate(pair, event.event_id).close()
    seeds = random.Random(SEED)
    # Eight races run at once; more of them would compete for the processor instead of the ticket.
    places = asyncio.Semaphore(8)
    outcomes: Counter[str] = Counter()
    async with (
        grpc.aio.insecure_channel(pair.address("TICKETS")) as to_tickets,
        grpc.aio.insecure_channel(pair.address("SCANS")) as to_scans,
    ):
        ticket_service = ticket_service_pb2_grpc.TicketServiceStub(to_tickets)
        scan_service = scan_service_pb2_grpc.ScanServiceStub(to_scans)

        async def cancel(ticket: ticket_pb2.Ticket, delay: float) -> bool:
            await asyncio.sleep(delay)  # The offset of the race.
            request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id)
            try:
                call = ticket_service.CancelTicket(request, metadata=pair.issuer.metadata("user", "bob"), timeout=10)
                answer = await call
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                return False
            assert answer.cancellation.status == ticket_pb2.CANCELLATION_STATUS_REFUNDING
            return True

        async def scan(ticket: ticket_pb2.Ticket, delay: float) -> bool:
            await asyncio.sleep(delay)  # The offset of the race.
            request = scan_service_pb2.ScanTicketRequest(
                gate=scan_pb2.Gate(event_id=event.event_id, location="North"),
                attempt=scan_service_pb2.ScanAttempt(scan_id=Visitor(ticket).scan_id, code=ticket.token),
            )
            call = scan_service.ScanTicket(request, metadata=pair.issuer.metadata("scanner", "door"), timeout=10)
            return (await call).scan.verdict == scan_pb2.VERDICT_ADMITTED

        # The mean time by which the cancellation precedes the scan. The time follows the outcomes, so that most
        # races are close on any machine.
        lead = 0.0

        async def race(ticket: ticket_pb2.Ticket) -> None:
            nonlocal lead
            async with places:
                # The offset is computed at the start of each race, so that the earlier races count.
                offset = lead + seeds.uniform(-0.01, 0.01)
                refunded, admitted = await asyncio.gather(
                    cancel(ticket, max(0.0, -offset)), scan(ticket, max(0.0, offset))
                )
            assert refunded != admitted, f"{ticket.ticket_id}: refunded {refunded}, admitted {admitted}"
            outcomes["refunded" if refunded else "admitted"] += 1
            lead += -0.003 if refunded else 0.003

        for ticket_group in (tickets[n : n + 50] for n in range(0, RACES, 50)):
            await asyncio.gather(*(race(ticket) for ticket in ticket_group))
    print(f"seed {SEED}: {dict(outcomes)}")
    assert outcomes.total() == RACES
    assert min(outcomes["refunded"], outcomes["admitted"]) > RACES // 50, (
        "one side nearly always won: these were no races"
    )


def test_a_flooding_device_is_stopped_and_others_continue(pair: ServicePair) -> None:
    event, (ticket, other_ticket) = sell(pair, 2)
    new_gate(pair, event.event_id).close()

    def flood() -> Iterator[scan_service_pb2.StreamScansRequest]:
        gate = scan_pb2.Gate(event_id=event.event_id, location="South")
        yield scan_service_pb2.StreamScansRequest(open=gate)
        for _ in range(FLOOD):
            attempt = scan_service_pb2.ScanAttempt(scan_id=Visitor(ticket).scan_id, code=ticket.token)
            yield scan_service_pb2.StreamScansRequest(scan=attempt)

    # The device reads no answer before its stream has ended. The number of scans sent by then proves nothing: a quick
    # transport takes all of them.
    stream = pair.caller("scanner", "flood").stream(flood())
    with closing(new_gate(pair, event.event_id)) as other:
        assert other.scan(other_ticket.token).verdict == scan_pb2.VERDICT_ADMITTED
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
