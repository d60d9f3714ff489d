"""LookUpTickets: a person without a phone is found and admitted once, within bounds, and scans never wait."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from scan_service.use_cases import look_ups
from tests.environment.access import Issuer
from tests.environment.refusals import fields_at_fault, refusal
from tests.environment.waiting import until
from tests.scanning.gates import ScansDatabase, Service, ShownTicket, running_service, settings_of
from tests.stand_ins.tickets import TicketServiceStandIn
from ticketing.chassis.peer_client import CALL_SECONDS
from ticketing.options.v1 import options_pb2
from ticketing.scans.v1 import device_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb

ADMITTED = scan_pb2.VERDICT_ADMITTED


@pytest.fixture
def office(tickets) -> TicketServiceStandIn:
    """Return the ticket service."""
    return tickets[0]


async def look_up(service: Service, event_id: uuid.UUID, query: str = "anna", **changes: Any) -> Any:
    gate = scan_pb2.Gate(**{"event_id": str(event_id), "location": "North 3", **changes.pop("gate", {})})
    metadata = changes.pop("metadata", service.scanner)
    request = pb.LookUpTicketsRequest(gate=gate, query=query)
    return await service.scans.LookUpTickets(request, metadata=metadata, timeout=20)


def holds(office: TicketServiceStandIn, *shown: ShownTicket, issue: int = 1, more: bool = False) -> None:
    """Let the ticket service find tickets."""
    tickets = [
        feed_pb.HeldTicket(ticket_id=str(one.ticket_id), issue=issue, holder="Anna S…, an…@example.com")
        for one in shown
    ]
    office.found = feed_pb.FindTicketsResponse(allowed=True, tickets=tickets, more=more)


async def device_of(service: Service, issuer: Issuer, *event_ids: uuid.UUID) -> tuple[str, Any]:
    """Enroll a device of the organizer; return its id and its metadata."""
    request = device_service_pb2.CreateDeviceRequest(name="Door", event_ids=[str(one) for one in event_ids])
    created = await service.devices.CreateDevice(request, metadata=issuer.metadata("organizer", "orga"))
    enrolled = await service.devices.EnrollDevice(
        device_service_pb2.EnrollDeviceRequest(enrollment_code=created.enrollment_code, request_id=str(uuid.uuid4()))
    )
    return created.device.device_id, (("authorization", f"Bearer {enrolled.access_token}"),)


async def test_a_looked_up_ticket_is_admitted_once_and_recorded_as_such(paired, database, office, orga):
    shown = database.ticket(event_id := database.event(), ticket_type="VIP")
    holds(office, shown)
    [found] = (await look_up(paired, event_id)).tickets
    assert (found.holder, found.admission.ticket_id) == ("Anna S…, an…@example.com", shown.ticket_id.bytes)
    assert (found.admission.ticket_type, found.admission.HasField("check_in")) == (event_pb2.TICKET_TYPE_VIP, False)
    first = await paired.scan(event_id, found.look_up_pass)
    assert (first.verdict, first.looked_up, first.ticket_id) == (ADMITTED, True, str(shown.ticket_id))
    again = await paired.scan(event_id, shown.token)
    assert (again.denial_reason, again.looked_up) == (scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN, False)
    listed = await paired.scans.ListScans(pb.ListScansRequest(event_id=str(event_id)), metadata=orga)
    assert [scan.looked_up for scan in listed.scans] == [False, True]
    # The next look-up shows the check-in.
    [found] = (await look_up(paired, event_id)).tickets
    assert (found.admission.inside, found.admission.check_in.location) == (True, "North")
    assert found.admission.check_in.scan_time == first.scan_time
    assert (await paired.scan(event_id, found.look_up_pass)).denial_reason == again.denial_reason
    # The record contains nothing that opens a gate.
    assert all("LOOKUP" not in str(row) for row in database.rows("scans"))


async def test_the_ticket_service_receives_the_caller_for_its_record(paired, database, office, issuer):
    event_id = database.event()
    await look_up(paired, event_id, "  Mu\N{COMBINING DIAERESIS}ller  Anna")
    device_id, metadata = await device_of(paired, issuer)
    await look_up(paired, event_id, metadata=metadata)
    person, device = office.look_ups
    assert (person.query, person.caller, list(person.roles)) == ("Müller Anna", "sam", [options_pb2.ROLE_SCANNER])
    assert (device.caller, list(device.roles)) == (device_id, [options_pb2.ROLE_DEVICE])
    assert (device.event_id, device.location) == (str(event_id), "North 3")


async def test_a_pass_admits_only_for_its_caller_its_event_and_its_time(paired, database, office, issuer):
    event_id, other = database.event(), database.event()
    holds(office, database.ticket(event_id))
    [found] = (await look_up(paired, event_id)).tickets
    _, device = await device_of(paired, issuer)
    not_found = scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
    assert (await paired.scan(event_id, found.look_up_pass, metadata=device)).denial_reason == not_found
    changed = found.look_up_pass[:-1] + ("B" if found.look_up_pass.endswith("A") else "A")
    assert (await paired.scan(event_id, changed)).denial_reason == not_found
    wrong = await paired.scan(other, found.look_up_pass)
    assert wrong.denial_reason == scan_pb2.DENIAL_REASON_WRONG_EVENT
    validated = await paired.scans.ValidateTicket(
        pb.ValidateTicketRequest(gate=scan_pb2.Gate(event_id=str(event_id)), code=found.look_up_pass),
        metadata=paired.scanner,
    )
    assert (validated.scan.verdict, validated.scan.looked_up) == (ADMITTED, True)
    paired.clock.advance(timedelta(minutes=10))
    assert (await paired.scan(event_id, found.look_up_pass)).denial_reason == not_found


async def test_a_pass_of_an_issue_that_was_replaced_is_denied(paired, database, office):
    event_id = database.event()
    shown = database.ticket(event_id, issue=2)
    holds(office, shown, issue=1)
    [found] = (await look_up(paired, event_id)).tickets
    assert (await paired.scan(event_id, found.look_up_pass)).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED


async def test_an_answer_shows_the_state_of_each_ticket(paired, database, office):
    event_id = database.event()
    blocked, unknown = database.ticket(event_id, status="BLOCKED"), database.unknown(event_id)
    holds(office, blocked, unknown, more=True)
    answer = await look_up(paired, event_id)
    [found] = answer.tickets
    assert (found.admission.denial_reason, answer.more) == (scan_pb2.DENIAL_REASON_BLOCKED, True)


async def test_look_ups_are_refused_unless_the_event_allows_them(paired, database, office):
    event_id = database.event()
    office.found = feed_pb.FindTicketsResponse(allowed=False)
    refused = await refusal(look_up(paired, event_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOOK_UP_NOT_ALLOWED")
    assert refused.metadata == {"event_id": str(event_id), "cause": "EVENT"}


async def test_a_caller_looks_up_in_its_own_events_only(paired, database, office, issuer):
    own, other = database.event(), database.event()
    foreign = database.event(organizer_id="oskar")
    _, device = await device_of(paired, issuer, own)
    for metadata in (device, issuer.metadata("organizer", "orga")):
        await look_up(paired, own, metadata=metadata)
    assert (await refusal(look_up(paired, other, metadata=device))).reason == "FORBIDDEN"
    for event_id in (foreign, uuid.uuid4()):
        refused = await refusal(look_up(paired, event_id, metadata=issuer.metadata("organizer", "orga")))
        assert refused.reason == "EVENT_NOT_FOUND"
    assert len(office.look_ups) == 2


async def test_every_field_at_fault_is_named(paired, database):
    call = look_up(paired, database.event(), "a \t b"[:3], gate={"location": "x" * 101})
    assert set(await fields_at_fault(call)) == {"query", "gate.location"}
    assert await fields_at_fault(look_up(paired, database.event(), "x" * 201)) == ["query"]


@pytest.fixture
async def limited(
    database: ScansDatabase, tmp_path: Path, issuer: Issuer, tickets: tuple[TicketServiceStandIn, str], request: Any
) -> AsyncIterator[Service]:
    """Run a scan service with another number of look-ups per minute."""
    variables = {"SCANS_TICKETS_ADDRESS": tickets[1], "SCANS_MAX_LOOK_UPS": str(request.param)}
    async with running_service(settings_of(tmp_path, issuer, **variables), database.url, issuer) as service:
        yield service


@pytest.mark.parametrize("limited", [2], indirect=True)
async def test_one_caller_looks_up_a_bounded_number_of_times(limited, database, office, issuer):
    event_id = database.event()
    for _ in range(2):
        await look_up(limited, event_id)
    refused = await refusal(look_up(limited, event_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refused.retry_seconds is not None
    # Others are not affected, nor are scans.
    await look_up(limited, event_id, metadata=issuer.metadata("scanner", "tim"))
    assert (await limited.scan(event_id, database.ticket(event_id).token)).verdict == ADMITTED
    assert len(office.look_ups) == 3


@pytest.mark.parametrize("limited", [0], indirect=True)
async def test_a_setting_turns_look_ups_off(limited, database, office):
    event_id = database.event()
    refused = await refusal(look_up(limited, event_id))
    assert (refused.reason, refused.metadata["cause"]) == ("LOOK_UP_NOT_ALLOWED", "SERVICE")
    assert office.look_ups == []


async def test_look_ups_wait_at_most_their_deadline_and_scans_go_on(paired, database, office, monkeypatch):
    monkeypatch.setattr(look_ups, "MAX_UNDER_WAY", 2)
    event_id = database.event()
    office.may_find.clear()
    waiting = [asyncio.create_task(refusal(look_up(paired, event_id))) for _ in range(2)]
    await until(lambda: len(office.look_ups) == 2)
    assert office.seconds_for_look_up is not None
    # gRPC rounds a deadline up.
    assert office.seconds_for_look_up < CALL_SECONDS + 1
    # The number of look-ups at once is bounded.
    assert (await refusal(look_up(paired, event_id))).reason == "OVERLOADED"
    assert (await paired.scan(event_id, database.ticket(event_id).token)).verdict == ADMITTED
    assert not any(task.done() for task in waiting)
    for refused in await asyncio.gather(*waiting):
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        assert refused.metadata == {"dependency": "ticket service"}
    office.may_find.set()
    await look_up(paired, event_id)


async def test_a_look_up_without_the_ticket_service_is_refused_at_once(service, database):
    event_id = database.event()
    refused = await refusal(look_up(service, event_id))
    assert (refused.reason, refused.metadata) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "ticket service"})


async def test_an_offline_decision_on_a_pass_keeps_its_live_record(paired, database, office):
    """The answer to a live scan was lost, so the device denied the pass and uploads its decision."""
    event_id = database.event()
    holds(office, database.ticket(event_id))
    [found] = (await look_up(paired, event_id)).tickets
    scan_id = str(uuid.uuid4())
    live = await paired.scan(event_id, found.look_up_pass, scan_id=scan_id)
    offline = pb.OfflineDecision(
        verdict=scan_pb2.VERDICT_DENIED,
        denial_reason=scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND,
        scan_time=live.scan_time,
    )
    uploaded = await paired.scan(event_id, found.look_up_pass, scan_id=scan_id, offline=offline)
    assert (uploaded.verdict, uploaded.looked_up) == (scan_pb2.VERDICT_DENIED, True)
    [row] = database.rows("scans")
    assert (row["looked_up"], row["verdict"]) == (True, "DENIED")
