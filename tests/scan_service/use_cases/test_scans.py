"""Tests of ListScans."""

import uuid
from typing import Any

import pytest

from tests.environment.refusals import refusal
from ticketing.chassis.paging import page_token
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb


async def listed(service, event_id, metadata=None, **values) -> pb.ListScansResponse:
    request = pb.ListScansRequest(event_id=str(event_id), **values)
    return await service.scans.ListScans(request, metadata=metadata or service.scanner)


async def test_scans_are_listed_newest_first_as_they_were_answered(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    metadata: dict[str, Any] = {"lane": 3, "tags": ["a", None]}
    answers = [await service.scan(event_id, code) for code in (ticket.token, ticket.token, "no\x07thing")]
    request = pb.ScanTicketRequest(gate=scan_pb2.Gate(event_id=str(event_id)))
    request.attempt.scan_id, request.attempt.code = str(uuid.uuid4()), "x"
    request.attempt.metadata.update(metadata)
    answers.append((await service.scans.ScanTicket(request, metadata=service.scanner)).scan)
    assert list((await listed(service, event_id)).scans) == answers[::-1]
    assert answers[2].code == "(8 characters)"


async def test_a_scan_names_the_events_of_its_gate_and_of_its_ticket(database, service):
    gate_event, ticket_event = database.event(), database.event()
    elsewhere, unknown = database.ticket(ticket_event).token, "x"
    scans = [await service.scan(gate_event, text) for text in (elsewhere, unknown)]
    assert [scan.gate_event_id for scan in scans] == [str(gate_event)] * 2
    assert [scan.event_id for scan in scans] == [str(ticket_event), ""]
    assert list((await listed(service, gate_event)).scans) == scans[::-1]
    assert not (await listed(service, ticket_event)).scans


async def test_pages_follow_each_other_without_gap_or_overlap(database, service):
    event_id = database.event()
    answers = [(await service.scan(event_id, "x")).scan_id for _ in range(5)]
    pages, token = [], ""
    while True:
        page = await listed(service, event_id, page_size=2, page_token=token)
        pages.append([scan.scan_id for scan in page.scans])
        token = page.next_page_token
        if not token:
            break
    assert pages == [answers[:2:-1], answers[2:0:-1], answers[:1]]


async def test_filters_narrow_the_list(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    first = await service.scan(event_id, ticket.token)
    second = await service.scan(event_id, ticket.token)
    other = await service.scan(event_id, "x")

    async def ids(**values):
        return [scan.scan_id for scan in (await listed(service, event_id, **values)).scans]

    assert await ids(ticket_id=str(ticket.ticket_id)) == [second.scan_id, first.scan_id]
    assert await ids(verdict=scan_pb2.VERDICT_ADMITTED) == [first.scan_id]
    assert await ids(code="x") == [other.scan_id]
    assert await ids(code=ticket.code.lower()) == [second.scan_id, first.scan_id]
    assert await ids(device_id="d") == []


async def test_unknown_and_foreign_events_are_not_found(database, service, issuer):
    event_id = database.event(organizer_id="orga")
    assert not (await listed(service, event_id, issuer.metadata("organizer", "orga"))).scans
    for asked, metadata in ((uuid.uuid4(), None), (event_id, issuer.metadata("organizer", "other"))):
        assert (await refusal(listed(service, asked, metadata))).reason == "EVENT_NOT_FOUND"


async def test_every_invalid_field_is_named(service):
    refused = await refusal(listed(service, "x", ticket_id="y", verdict=9, device_id="\0", code="x" * 4097))
    assert refused.fields == {"event_id", "ticket_id", "verdict", "device_id", "code"}


@pytest.mark.parametrize("forge", [lambda _: "x", lambda own: page_token(("no time", "no id"), own)])
async def test_a_page_token_of_another_list_is_refused(database, service, forge):
    event_id = database.event()
    own = (str(event_id), "", "", 0, "")
    assert (await refusal(listed(service, event_id, page_token=forge(own)))).fields == {"page_token"}
