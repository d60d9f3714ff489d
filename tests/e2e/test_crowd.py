"""What holds before a crowd, over processes that die and connections that break.

The sizes are small so that the suite stays quick; TICKETING_CROWD=full is what is promised.
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
from tests.e2e.crowd import Device, Person, sell
from tests.e2e.pair import Pair, new_gate
from tests.environment.proxy import Proxy
from tests.processes.service import ServiceProcess
from ticketing.scans.v1 import scan_pb2, scan_service_pb2, scan_service_pb2_grpc
from ticketing.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc

FULL = os.environ.get("TICKETING_CROWD") == "full"
DEVICES, TICKETS, KILLS, CUTS = (200, 20_000, 3, 60) if FULL else (20, 400, 1, 6)
RACES = 10_000 if FULL else 150
FLOOD = 10_000
SEED = int(os.environ.get("TICKETING_SEED", "1"))


def second_scan_service(pair: Pair) -> ServiceProcess:
    """Start another scan service on the same database."""
    return ServiceProcess("scan_service", {**pair.variables, "SCANS_PORT": str(free_ports(1)[0])})


@pytest.mark.timeout(900 if FULL else 60)
async def test_everybody_gets_one_answer_and_nobody_gets_in_twice_whatever_breaks(pair: Pair) -> None:
    event, tickets = await asyncio.to_thread(sell, pair, TICKETS)
    new_gate(pair, event.event_id).close()
    seeds = random.Random(SEED)
    other = await asyncio.to_thread(second_scan_service, pair)
    networks = [
        Proxy(("127.0.0.1", int(address.rpartition(":")[2]))) for address in (pair.address("SCANS"), other.address)
    ]
    metadata = pair.issuer.metadata("scanner", "door")
    devices = [
        Device(
            f"gate {n}", [network.address for network in networks], metadata, event.event_id, random.Random(SEED + n)
        )
        for n in range(DEVICES)
    ]
    # Every tenth ticket is shown twice, at two gates.
    people = [Person(ticket) for ticket in tickets] + [Person(ticket) for ticket in tickets[::10]]
    seeds.shuffle(people)
    kills = [(k + 1) * len(people) // (KILLS + 1) for k in range(KILLS)]
    cuts = sorted(seeds.randrange(len(people)) for _ in range(CUTS))
    answered = 0
    moments: asyncio.Queue[str] = asyncio.Queue()

    async def work(device: Device, share: list[Person]) -> None:
        nonlocal answered
        async for _ in device.admit(share):
            answered += 1
            while kills and answered >= kills[0]:
                kills.pop(0)
                moments.put_nowait("kill")
            while cuts and answered >= cuts[0]:
                cuts.pop(0)
                moments.put_nowait("cut")

    async def break_things() -> None:
        while (moment := await moments.get()) != "end":
            if moment == "kill":
                await asyncio.to_thread(pair.stop, "scan_service", signal.SIGKILL)
                await asyncio.to_thread(pair.start, "scan_service")
            else:
                seeds.choice(networks).cut_connections()

    breaking = asyncio.create_task(break_things())
    try:
        await asyncio.gather(*(work(device, people[n::DEVICES]) for n, device in enumerate(devices)))
    finally:
        moments.put_nowait("end")
        await breaking
    await asyncio.to_thread(check_answers, pair, event.event_id, tickets, people, devices)
    lost = sum(device.lost.total() for device in devices)
    print(f"seed {SEED}: {len(people)} people, {lost} connections lost in the middle, {KILLS} kills")
    assert lost > 0, "nothing broke: this would show nothing"
    for network in networks:
        network.cut()
    assert await asyncio.to_thread(other.end) == 0


def check_answers(
    pair: Pair, event_id: str, tickets: list[ticket_pb2.Ticket], people: list[Person], devices: list[Device]
) -> None:
    """One final answer for everybody, one admission a ticket, and all of it on record and counted."""
    answers = {scan_id: scan for device in devices for scan_id, scan in device.answers.items()}
    assert answers.keys() == {person.scan_id for person in people}
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
    assert sum(gate.denied for gate in attendance.locations) == len(people) - TICKETS


def records(pair: Pair, event_id: str) -> dict[str, scan_pb2.Scan]:
    """Read every scan on record."""
    door, found, token = pair.caller("scanner", "door"), dict[str, scan_pb2.Scan](), ""
    while True:
        request = scan_service_pb2.ListScansRequest(event_id=event_id, page_size=1000, page_token=token)
        page = door.ask(door.scans.ListScans, request)
        found |= {scan.scan_id: scan for scan in page.scans}
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.timeout(900 if FULL else 60)
async def test_of_a_cancellation_and_a_scan_at_once_exactly_one_wins(pair: Pair) -> None:
    event, tickets = await asyncio.to_thread(sell, pair, RACES)
    new_gate(pair, event.event_id).close()
    seeds = random.Random(SEED)
    # Cancellations and scans that are under way at once; more would race for the machine instead of the ticket.
    places = asyncio.Semaphore(8)
    outcomes: Counter[str] = Counter()
    async with (
        grpc.aio.insecure_channel(pair.address("TICKETS")) as to_tickets,
        grpc.aio.insecure_channel(pair.address("SCANS")) as to_scans,
    ):
        ticket_service = ticket_service_pb2_grpc.TicketServiceStub(to_tickets)
        scan_service = scan_service_pb2_grpc.ScanServiceStub(to_scans)

        async def cancel(ticket: ticket_pb2.Ticket, delay: float) -> bool:
            await asyncio.sleep(delay)
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
            await asyncio.sleep(delay)
            request = scan_service_pb2.ScanTicketRequest(
                gate=scan_pb2.Gate(event_id=event.event_id, location="North"),
                attempt=scan_service_pb2.ScanAttempt(scan_id=Person(ticket).scan_id, code=ticket.token),
            )
            call = scan_service.ScanTicket(request, metadata=pair.issuer.metadata("scanner", "door"), timeout=10)
            return (await call).scan.verdict == scan_pb2.VERDICT_ADMITTED

        # How long before the scan the cancellation is sent, on average: follows the outcomes, so that whatever the
        # machine, most races are close.
        lead = 0.0

        async def race(ticket: ticket_pb2.Ticket) -> None:
            nonlocal lead
            async with places:
                # Only now, by what the races before it have shown.
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
    assert min(outcomes["refunded"], outcomes["admitted"]) > RACES // 50, "one side nearly always won: no race"


def test_a_device_that_floods_is_stopped_and_the_others_go_on(pair: Pair) -> None:
    event, (ticket, other_ticket) = sell(pair, 2)
    new_gate(pair, event.event_id).close()

    def flood() -> Iterator[scan_service_pb2.StreamScansRequest]:
        gate = scan_pb2.Gate(event_id=event.event_id, location="South")
        yield scan_service_pb2.StreamScansRequest(open=gate)
        for _ in range(FLOOD):
            attempt = scan_service_pb2.ScanAttempt(scan_id=Person(ticket).scan_id, code=ticket.token)
            yield scan_service_pb2.StreamScansRequest(scan=attempt)

    # Not one answer is read until the stream has been ended for it. How many scans left the device by then says
    # nothing: its transport takes all of them where the network is quick.
    stream = pair.caller("scanner", "flood").stream(flood())
    with closing(new_gate(pair, event.event_id)) as other:
        assert other.scan(other_ticket.token).verdict == scan_pb2.VERDICT_ADMITTED
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
