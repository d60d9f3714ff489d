"""Tests of invalid requests, overload, and unavailable dependencies."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from nacl.signing import SigningKey

from scan_service.app import App
from scan_service.settings import read_settings
from scan_service.store.tables import signing_keys
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Device, ScansDatabase, running_service, settings_of, token_of
from tests.scanning.keyboards import typed_on
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2

ADMITTED = scan_pb2.VERDICT_ADMITTED
NOT_FOUND = scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
FORGED = scan_pb2.DENIAL_REASON_INVALID_SIGNATURE


@pytest.mark.parametrize(
    "code", ["", "x", "T1", "TKT-", "\0", "Grüße 🎟\n", "'; DROP TABLE scans; --", '{"\\', "x" * 4096]
)
async def test_a_scanned_code_may_be_any_text(database, service, code):
    event_id = database.event()
    scan = await service.scan(event_id, code)
    assert scan.denial_reason == NOT_FOUND
    assert len(database.rows("scans")) == 1


@pytest.mark.parametrize("group", [" ", "-", "\N{EN DASH}"])
async def test_a_code_is_scanned_and_validated_as_people_type_it(database, service, group):
    event_id = database.event()
    ticket = database.ticket(event_id)
    digits = ticket.code.removeprefix("TKT-").lower().replace("0", "o").replace("1", "l")
    typed = group.join(digits[begin : begin + 4] for begin in range(0, 16, 4))
    request = pb.ValidateTicketRequest(gate=scan_pb2.Gate(event_id=str(event_id)), code=typed)
    assert (await service.scans.ValidateTicket(request, metadata=service.scanner)).scan.verdict == ADMITTED
    assert (await service.scan(event_id, typed)).verdict == ADMITTED


async def test_the_record_of_a_near_miss_does_not_contain_the_code(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    digits = ticket.code.removeprefix("TKT-")
    for text in (ticket.code[:-1], f"{ticket.code}0", typed_on("fr", ticket.code), digits[:8]):
        assert (await service.scan(event_id, text)).denial_reason == NOT_FOUND
    assert {row["code"][0] for row in database.rows("scans")} == {"("}
    assert all(digits[4:8] not in row["code"] for row in database.rows("scans"))


async def test_damaged_and_forged_tokens_have_an_invalid_signature(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    damaged = ticket.token[:20] + ("A" if ticket.token[20] != "A" else "B") + ticket.token[21:]
    truncated_payload = ticket.token[:-2]
    database.key = SigningKey.generate()
    forged = database.unknown(event_id, ticket.ticket_id).token
    for code in (damaged, truncated_payload, forged):
        scan = await service.scan(event_id, code)
        assert (scan.denial_reason, scan.ticket_id) == (FORGED, "")


async def test_a_token_of_a_retired_key_is_denied_despite_its_digest(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    database.update(signing_keys, retire_time=service.clock())
    # The keys are read again when a token names an unknown key.
    service.clock.advance(timedelta(seconds=2))
    await service.scan(event_id, token_of(database.key, event_id, ticket.ticket_id, key_id=9))
    assert (await service.scan(event_id, ticket.token)).denial_reason == FORGED


async def test_a_token_without_a_known_digest_is_verified(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id, digest=False)
    assert (await service.scan(event_id, ticket.token)).verdict == scan_pb2.VERDICT_ADMITTED


async def test_the_scan_of_a_ticket_for_another_event_names_it(database, service):
    here, there = database.event(), database.event()
    for ticket in (database.ticket(there), database.unknown(there), database.unknown(uuid.uuid4())):
        scan = await service.scan(here, ticket.token)
        assert (scan.denial_reason, scan.event_id) == (scan_pb2.DENIAL_REASON_WRONG_EVENT, str(ticket.event_id))
    assert (await service.scan(here, database.ticket(there).code)).denial_reason == scan_pb2.DENIAL_REASON_WRONG_EVENT
    # No rows were created for tickets of another event.
    assert len(database.rows("tickets")) == 2


async def test_a_gate_admits_only_its_ticket_types(database, service):
    event_id = database.event()
    scan = await service.scan(event_id, database.ticket(event_id).token, gate={"allowed_ticket_types": [2]})
    assert scan.denial_reason == scan_pb2.DENIAL_REASON_TICKET_TYPE_NOT_ALLOWED


async def test_every_invalid_field_of_a_scan_is_named(service):
    unknown: Any = 9  # The enum has no such value.
    gate = scan_pb2.Gate(event_id="x", location="y" * 101, allowed_ticket_types=[event_pb2.TICKET_TYPE_UNSPECIFIED])
    attempt = pb.ScanAttempt(scan_id="z", code="x" * 2**20, scan_type=unknown)
    attempt.offline.verdict = unknown
    request = pb.ScanTicketRequest(gate=gate, attempt=attempt)
    request.attempt.metadata["a"] = float("nan")
    assert (await refusal(service.scans.ScanTicket(request, metadata=service.scanner))).fields == {
        "gate.event_id",
        "gate.location",
        "gate.allowed_ticket_types[0]",
        "attempt.scan_id",
        "attempt.code",
        "attempt.scan_type",
        "attempt.offline.verdict",
        "attempt.offline.scan_time",
        "attempt.metadata",
    }


@asynccontextmanager
async def unanswered(database: ScansDatabase) -> AsyncIterator[None]:
    """Send messages of which the service answers none before it has read all."""
    with database.engine.begin() as connection:
        # While the event row is locked, no scan is answered.
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        yield
        # Nothing shows that the service has read the messages.
        await asyncio.sleep(0.3)


async def test_scans_beyond_the_credits_end_the_stream(database, tmp_path, issuer):
    settings = settings_of(tmp_path, issuer, SCANS_MAX_OUTSTANDING="2")
    async with running_service(settings, database.url, issuer) as service:
        device = Device(service)
        event_id = database.event()
        await device.open(event_id)
        async with unanswered(database):
            for _ in range(3):
                await device.ask("nothing")
        assert [(await device.receive()).HasField("result") for _ in range(2)] == [True, True]
        refused = await refusal(device.receive())
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")


async def test_a_flood_of_rejected_messages_ends_the_stream(database, tmp_path, issuer):
    settings = settings_of(tmp_path, issuer, SCANS_MAX_OUTSTANDING="1")
    async with running_service(settings, database.url, issuer) as service:
        device = Device(service)
        await device.open(database.event())
        async with unanswered(database):
            await device.ask("nothing")
            for _ in range(4):
                await device.send()
        assert (await device.receive()).HasField("result")
        assert [(await device.receive()).HasField("rejected") for _ in range(2)] == [True, True]
        assert (await refusal(device.receive())).reason == "OVERLOADED"


async def test_too_many_waiting_scans_are_rejected(database, tmp_path, issuer):
    async with running_service(settings_of(tmp_path, issuer, SCANS_MAX_WAITING="1"), database.url, issuer) as service:
        device = Device(service)
        await device.open(database.event())
        async with unanswered(database):
            for _ in range(6):
                await device.ask("nothing")
        answers = [await device.receive() for _ in range(6)]
        rejected = [answer.rejected for answer in answers if answer.HasField("rejected")]
        assert rejected
        assert {one.reason for one in rejected} == {error_reason_pb2.ERROR_REASON_OVERLOADED}
        assert all(one.scan_id for one in rejected)


async def test_cut_database_connections_cost_no_answer(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    device = Device(service)
    await device.open(event_id)
    first = await device.scan(ticket.token)
    database.cut_connections()
    again = await device.scan(ticket.token)
    assert again.previous.scan_id == first.scan_id


async def test_scans_without_database_are_rejected(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    device = Device(service)
    await device.open(event_id)
    scan_id = str(uuid.uuid4())
    database.allow_connections(allowed=False)
    await device.ask(ticket.token, scan_id)
    rejected = (await device.receive()).rejected
    assert (rejected.reason, rejected.scan_id) == (error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, scan_id)
    database.allow_connections(allowed=True)
    assert (await device.scan(ticket.token, scan_id)).verdict == scan_pb2.VERDICT_ADMITTED


async def test_another_process_leads_after_the_first_is_gone(database, tmp_path, issuer, tickets):
    settings = settings_of(tmp_path, issuer, SCANS_TICKETS_ADDRESS=tickets[1])
    first, second = App(settings, database.url), App(settings, database.url)
    await first.start()
    await until(lambda: len(tickets[0].watched) == 1)
    await second.start()
    # The lock ends with its session; the next process that asks gets it.
    database.cut_connections()
    await until(lambda: len(tickets[0].watched) == 2)
    await first.stop()
    await second.stop()


def test_every_invalid_setting_is_named(tmp_path, issuer):
    environment = Environment({"TICKETING_CODE_SECRET": "short", "SCANS_MAX_OUTSTANDING": "0", "SCANS_PORT": "x"})
    read_settings(environment)
    with pytest.raises(SettingsError) as wrong:
        environment.check()
    for name in ("TICKETING_CODE_SECRET", "SCANS_MAX_OUTSTANDING", "SCANS_PORT", "TICKETING_PEER_SECRET"):
        assert name in str(wrong.value)
