"""Tests of ValidateTicket, which answers as a scan does and records nothing."""

import uuid
from dataclasses import replace
from typing import Any

from nacl.signing import SigningKey

from tests.environment.refusals import refusal
from tests.scanning.gates import ScansDatabase
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2


async def validate(service, code, event_id=None, metadata=None, **values):
    gate = scan_pb2.Gate(event_id=str(event_id or ""))
    request = pb.ValidateTicketRequest(gate=gate, code=code, **values)
    return (await service.scans.ValidateTicket(request, metadata=metadata or service.scanner)).scan


async def test_validation_answers_as_a_scan_and_records_nothing(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    for code in (ticket.token, ticket.code):
        scan = await validate(service, code, event_id)
        assert (scan.verdict, scan.ticket_id, scan.scan_id) == (scan_pb2.VERDICT_ADMITTED, str(ticket.ticket_id), "")
        assert scan.gate_event_id == str(event_id)
        assert not scan.HasField("record_time")
    assert database.rows("scans") == []
    assert not database.rows("tickets")[0]["inside"]


async def test_validation_without_event_accepts_tickets_of_all_events(database, service):
    event_id = database.event()
    for ticket in (database.ticket(event_id), database.unknown(event_id)):
        scan = await validate(service, ticket.token)
        assert (scan.verdict, scan.gate_event_id) == (scan_pb2.VERDICT_ADMITTED, "")
    assert (await validate(service, "nothing")).denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND


async def test_a_genuine_token_of_an_unknown_event_is_denied(database: ScansDatabase, service):
    elsewhere = database.unknown(uuid.uuid4())
    assert (await validate(service, elsewhere.token)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_NOT_OPEN
    database.key = SigningKey.generate()
    forged = replace(elsewhere, token=database.unknown(uuid.uuid4()).token)
    assert (await validate(service, forged.token)).denial_reason == scan_pb2.DENIAL_REASON_INVALID_SIGNATURE


async def test_unknown_and_foreign_events_are_not_found(database, service, issuer):
    event_id = database.event(organizer_id="orga")
    foreign = issuer.metadata("organizer", "other")
    for asked, metadata in ((uuid.uuid4(), None), (event_id, foreign)):
        assert (await refusal(validate(service, "x", asked, metadata))).reason == "EVENT_NOT_FOUND"
    own = issuer.metadata("organizer", "orga")
    assert (await validate(service, database.ticket(event_id).token, None, own)).verdict == scan_pb2.VERDICT_ADMITTED


async def test_every_invalid_field_is_named(service):
    unknown: Any = 9  # The enum has no such value.
    gate = scan_pb2.Gate(event_id="x", location="\0", allowed_ticket_types=[event_pb2.TICKET_TYPE_STANDARD, unknown])
    request = pb.ValidateTicketRequest(gate=gate, code="x" * 4097, scan_type=unknown)
    refused = await refusal(service.scans.ValidateTicket(request, metadata=service.scanner))
    assert refused.fields == {"gate.event_id", "gate.location", "gate.allowed_ticket_types[1]", "code", "scan_type"}


async def test_a_foreign_ticket_is_answered_as_an_unknown_one(database, service, issuer):
    """Without an event in the request, the answer would otherwise reveal the event of the ticket."""
    theirs, ours = database.ticket(database.event(organizer_id="other")), issuer.metadata("organizer", "orga")
    foreign, missing = [await validate(service, code, None, ours) for code in (theirs.code, "TKT-0123456789ABCDEF")]
    assert foreign.denial_reason == missing.denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
    assert (foreign.ticket_id, foreign.event_id) == ("", "")
    elsewhere = database.unknown(uuid.uuid4())
    for token in (theirs.token, elsewhere.token):
        assert (await validate(service, token, None, ours)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_NOT_OPEN
