"""Tests of the attendance: it equals the records exactly."""

import asyncio
import random
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Service
from ticketing.scans.v1 import revocation_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2, ticket_pb2

ADMITTED = scan_pb2.VERDICT_ADMITTED
IN, OUT, ACCESS = scan_pb2.SCAN_TYPE_CHECK_IN, scan_pb2.SCAN_TYPE_CHECK_OUT, scan_pb2.SCAN_TYPE_ACCESS


async def attendance(service: Service, event_id: uuid.UUID) -> pb.Attendance:
    request = pb.GetAttendanceRequest(event_id=str(event_id))
    return (await service.scans.GetAttendance(request, metadata=service.scanner)).attendance


async def test_attendance_counts_tickets_people_denials_and_gates(database, service):
    event_id = database.event(admission_policy="RE_ENTRY")
    first, second, _ = (database.ticket(event_id) for _ in range(3))
    database.ticket(event_id, status="REFUNDED")
    database.ticket(database.event())
    await service.scan(event_id, first.token, gate={"location": "South"})
    await service.scan(event_id, first.token)
    await service.scan(event_id, second.token)
    await service.scan(event_id, second.token, scan_type=OUT)
    annulled = await service.scan(event_id, second.token)
    await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=annulled.scan_id), metadata=service.scanner)
    service.clock.advance(timedelta(minutes=2))
    await service.scan(event_id, "nothing")
    counts = await attendance(service, event_id)
    assert (counts.tickets, counts.checked_in, counts.inside) == (3, 2, 1)
    assert {denial.reason: denial.scans for denial in counts.denials} == {
        scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN: 1,
        scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND: 1,
    }
    assert list(counts.locations) == [
        pb.LocationCount(location="North", check_ins=1, check_outs=1, denied=2, last_minute=1),
        pb.LocationCount(location="South", check_ins=1),
    ]


async def test_attendance_counts_accesses_and_ticket_types(database, service):
    event_id = database.event()
    vip, standard = database.ticket(event_id, ticket_type="VIP"), database.ticket(event_id)
    database.ticket(event_id, ticket_type="VIP")
    # A revocation before the feed: the type is not known yet, and the ticket is not valid.
    database.ticket(event_id, ticket_type=None, status="REFUNDED")
    for ticket in (vip, standard):
        await service.scan(event_id, ticket.token)
    await service.scan(event_id, standard.token, scan_type=OUT)
    for _ in range(3):
        await service.scan(event_id, vip.token, scan_type=ACCESS, gate={"location": "Backstage"})
    counts = await attendance(service, event_id)
    assert [(place.location, place.check_ins, place.accesses, place.denied) for place in counts.locations] == [
        ("Backstage", 0, 3, 0),
        ("North", 2, 0, 0),
    ]
    assert list(counts.ticket_types) == [
        pb.TicketTypeCount(),
        pb.TicketTypeCount(ticket_type=event_pb2.TICKET_TYPE_STANDARD, tickets=1, checked_in=1),
        pb.TicketTypeCount(ticket_type=event_pb2.TICKET_TYPE_VIP, tickets=2, checked_in=1, inside=1),
    ]
    assert (counts.tickets, counts.checked_in, counts.inside) == (3, 2, 1)


@pytest.mark.slow
async def test_attendance_under_load_equals_the_records(database, service):
    chance = random.Random(20260703)
    event_id = database.event(admission_policy="RE_ENTRY")
    shown = [database.ticket(event_id).token for _ in range(40)]

    async def gate(location: str) -> None:
        for _ in range(60):
            kind = chance.choice((IN, OUT))
            scan = await service.scan(event_id, chance.choice(shown), scan_type=kind, gate={"location": location})
            if scan.verdict == ADMITTED and chance.random() < 0.1:
                request = pb.AnnulScanRequest(scan_id=scan.scan_id)
                await service.scans.AnnulScan(request, metadata=service.issuer.metadata("service"))

    async def look() -> None:
        while not gates.done():
            counts = await attendance(service, event_id)
            assert 0 <= counts.inside <= counts.checked_in <= counts.tickets == 40

    gates = asyncio.gather(*(gate(f"Gate {number}") for number in range(8)))
    await asyncio.gather(gates, look())
    counts = await attendance(service, event_id)
    records = [row for row in database.rows("scans") if row["annul_time"] is None]
    through = [row for row in records if row["verdict"] == "ADMITTED"]
    of_ticket: dict[uuid.UUID, list[Any]] = {row["ticket_id"]: [] for row in through}
    for row in sorted(records, key=lambda row: (row["scan_time"], row["scan_id"])):
        # A denied exit counts too, where the exit before it was annulled.
        if row["verdict"] == "ADMITTED" or row["denial_reason"] == "NOT_CHECKED_IN":
            of_ticket.setdefault(row["ticket_id"], []).append(row["scan_type"])
    assert counts.checked_in == sum("CHECK_IN" in kinds for kinds in of_ticket.values())
    assert counts.inside == sum(kinds[-1] == "CHECK_IN" for kinds in of_ticket.values() if kinds)
    counted = {
        (place.location, name): getattr(place, name)
        for place in counts.locations
        for name in ("check_ins", "check_outs", "denied")
    }
    names = {"CHECK_IN": "check_ins", "CHECK_OUT": "check_outs"}
    expected = Counter((row["location"], names[row["scan_type"]]) for row in through)
    expected.update((row["location"], "denied") for row in records if row["verdict"] == "DENIED")
    assert +Counter(counted) == expected


async def test_a_watch_sends_counts_at_once_and_after_each_change(database, service):
    event_id = database.event()
    request = pb.WatchAttendanceRequest(event_id=str(event_id))
    calls = [service.scans.WatchAttendance(request, metadata=service.scanner) for _ in range(3)]
    async with asyncio.timeout(20):
        assert [(await call.read()).attendance.checked_in for call in calls] == [0, 0, 0]
        await service.scan(event_id, database.ticket(event_id).token)
        for call in calls:
            seen = (await call.read()).attendance
            while not seen.checked_in:
                # The count contains the ticket before its scan.
                seen = (await call.read()).attendance
            assert (seen.tickets, seen.checked_in, seen.inside) == (1, 1, 1)
        calls[0].cancel()
        stopping = asyncio.create_task(service.app.stop())
        assert await calls[1].read() is grpc.aio.EOF
        await stopping


async def test_a_watch_ends_with_its_credential(database, service, issuer):
    request = pb.WatchAttendanceRequest(event_id=str(database.event()))
    metadata = issuer.metadata("scanner", exp=service.clock() + timedelta(seconds=60))
    call = service.scans.WatchAttendance(request, metadata=metadata)
    await call.read()
    service.clock.advance(timedelta(minutes=2))
    assert (await refusal(call.read())).reason == "UNAUTHENTICATED"


async def test_unknown_and_foreign_events_are_not_found(database, service, issuer):
    foreign = issuer.metadata("organizer", "other")
    for asked, metadata in ((uuid.uuid4(), service.scanner), (database.event(), foreign)):
        for call in (
            service.scans.GetAttendance(pb.GetAttendanceRequest(event_id=str(asked)), metadata=metadata),
            service.scans.WatchAttendance(pb.WatchAttendanceRequest(event_id=str(asked)), metadata=metadata).read(),
        ):
            assert (await refusal(call)).reason == "EVENT_NOT_FOUND"
    refused = await refusal(service.scans.GetAttendance(pb.GetAttendanceRequest(), metadata=service.scanner))
    assert refused.fields == {"event_id"}


def shared(metric: str) -> float:
    return REGISTRY.get_sample_value(metric, {"reads": "attendance"}) or 0.0


async def test_64_equal_reads_are_one_query_and_delay_no_revocation(database, service):
    shown = [database.ticket(database.event()) for _ in range(3)]
    callers, reads = shared("shared_reads_callers_total"), shared("shared_reads_total")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'scan_service calls reads'"
    with database.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE scans IN ACCESS EXCLUSIVE MODE")
        counting = [asyncio.create_task(attendance(service, shown[0].event_id)) for _ in range(64)]
        await until(lambda: database.value(waiting), 1)
        # Counts of other events use the only other connection of reads; nothing else waits for one.
        counting += [asyncio.create_task(attendance(service, ticket.event_id)) for ticket in shown[1:]]
        await until(lambda: database.value(waiting), 2)
        revocation = revocation_service_pb2.Revocation(
            revocation_id=str(uuid.uuid4()),
            ticket_id=str(shown[0].ticket_id),
            status=ticket_pb2.TICKET_STATUS_CANCELLED,
            issue=1,
        )
        request = revocation_service_pb2.RevokeTicketsRequest(event_id=str(shown[0].event_id), revocations=[revocation])
        answer = await service.revocations.RevokeTickets(request, metadata=service.peer, timeout=5)
        assert answer.outcomes[0].revoked
    await asyncio.gather(*counting)
    # The first caller of an event has a count of its own; the others share the next one.
    assert shared("shared_reads_callers_total") - callers == 66
    assert shared("shared_reads_total") - reads <= 4
