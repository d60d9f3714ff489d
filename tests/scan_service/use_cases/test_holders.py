"""GetHolder of ScanService: a caller reads the name for its own recent scans only, and scans never wait."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from scan_service.use_cases import holders
from tests.environment.refusals import fields_at_fault, refusal
from tests.environment.waiting import until
from tests.scanning.gates import Service
from tests.stand_ins.tickets import TicketServiceStandIn
from ticketing.chassis.peer_client import CALL_SECONDS
from ticketing.scans.v1 import device_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb

ANNA = pb.GetHolderResponse(allowed=True, name="Anna Schmidt")
UNKNOWN = pb.GetHolderResponse(allowed=True)


@pytest.fixture
def office(tickets) -> TicketServiceStandIn:
    """Return the ticket service."""
    return tickets[0]


async def holder(service: Service, event_id: uuid.UUID, scan_id: str, metadata: Any = None) -> pb.GetHolderResponse:
    request = pb.GetHolderRequest(event_id=str(event_id), scan_id=scan_id)
    answer: pb.GetHolderResponse = await service.scans.GetHolder(
        request, metadata=metadata or service.scanner, timeout=20
    )
    return answer


async def test_admitted_and_denied_scans_of_a_ticket_show_its_holder(paired, database, office):
    shown = database.ticket(event_id := database.event())
    admitted, denied = await paired.scan(event_id, shown.token), await paired.scan(event_id, shown.token)
    assert denied.denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    assert [await holder(paired, event_id, scan.scan_id) for scan in (admitted, denied)] == [ANNA, ANNA]
    request = feed_pb.GetTicketHolderRequest(event_id=str(event_id), ticket_id=str(shown.ticket_id))
    assert office.holder_requests == [request, request]


async def test_names_are_not_allowed_unless_the_event_allows_them(paired, database, office):
    event_id = database.event()
    scan = await paired.scan(event_id, database.ticket(event_id).token)
    office.holder = feed_pb.GetTicketHolderResponse(allowed=False, name="Anna Schmidt")
    assert await holder(paired, event_id, scan.scan_id) == pb.GetHolderResponse(allowed=False)


async def test_a_scan_without_a_ticket_of_the_event_has_no_name(paired, database, office):
    event_id = database.event()
    elsewhere = database.ticket(database.event()).token
    for text in ("TKT-0123456789ABCDEF", elsewhere[:-1] + "x", elsewhere):
        scan = await paired.scan(event_id, text)
        assert await holder(paired, event_id, scan.scan_id) == UNKNOWN
    assert office.holder_requests == []


async def test_only_the_caller_of_a_recent_live_scan_reads_the_name(paired, database, office, issuer):
    shown = database.ticket(event_id := database.event())
    other = database.event()
    scan = await paired.scan(event_id, shown.token)
    decision = pb.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED, scan_time=scan.scan_time)
    uploaded = await paired.scan(event_id, database.ticket(event_id).token, offline=decision)
    calls = {
        "of another caller": holder(paired, event_id, scan.scan_id, issuer.metadata("scanner", "tim")),
        "of another role": holder(paired, event_id, scan.scan_id, issuer.metadata("organizer", "orga")),
        "at another event": holder(paired, other, scan.scan_id),
        "uploaded": holder(paired, event_id, uploaded.scan_id),
        "unknown": holder(paired, event_id, str(shown.ticket_id)),
    }
    assert {name: (await refusal(call)).reason for name, call in calls.items()} == dict.fromkeys(
        calls, "SCAN_NOT_FOUND"
    )
    paired.clock.advance(timedelta(minutes=5))
    assert (await refusal(holder(paired, event_id, scan.scan_id))).reason == "SCAN_NOT_FOUND"
    assert office.holder_requests == []


async def test_a_device_reads_names_at_its_own_events(paired, database, issuer):
    event_id, other = database.event(), database.event()
    request = device_service_pb2.CreateDeviceRequest(name="Door", event_ids=[str(event_id)])
    created = await paired.devices.CreateDevice(request, metadata=issuer.metadata("organizer", "orga"))
    enrolled = await paired.devices.EnrollDevice(
        device_service_pb2.EnrollDeviceRequest(enrollment_code=created.enrollment_code, request_id=str(uuid.uuid4()))
    )
    device = (("authorization", f"Bearer {enrolled.access_token}"),)
    scan = await paired.scan(event_id, database.ticket(event_id).token, metadata=device)
    assert await holder(paired, event_id, scan.scan_id, device) == ANNA
    assert (await refusal(holder(paired, other, scan.scan_id, device))).reason == "FORBIDDEN"
    assert (await refusal(holder(paired, event_id, scan.scan_id))).reason == "SCAN_NOT_FOUND"
    foreign = database.event(organizer_id="oskar")
    organizer = issuer.metadata("organizer", "orga")
    assert (await refusal(holder(paired, foreign, scan.scan_id, organizer))).reason == "EVENT_NOT_FOUND"


async def test_names_wait_at_most_their_deadline_and_scans_go_on(paired, database, office, monkeypatch):
    monkeypatch.setattr(holders, "MAX_UNDER_WAY", 1)
    event_id = database.event()
    scan = await paired.scan(event_id, database.ticket(event_id).token)
    office.may_find.clear()
    waiting = asyncio.create_task(refusal(holder(paired, event_id, scan.scan_id)))
    await until(lambda: len(office.holder_requests) == 1)
    assert office.seconds_for_holder is not None
    # gRPC rounds a deadline up.
    assert office.seconds_for_holder < CALL_SECONDS + 1
    assert (await refusal(holder(paired, event_id, scan.scan_id))).reason == "OVERLOADED"
    assert (await paired.scan(event_id, database.ticket(event_id).token)).verdict == scan_pb2.VERDICT_ADMITTED
    assert (await waiting).reason == "DEPENDENCY_UNAVAILABLE"
    office.may_find.set()
    assert await holder(paired, event_id, scan.scan_id) == ANNA


async def test_every_field_at_fault_is_named(paired):
    call = paired.scans.GetHolder(pb.GetHolderRequest(event_id="x"), metadata=paired.scanner)
    assert set(await fields_at_fault(call)) == {"event_id", "scan_id"}
