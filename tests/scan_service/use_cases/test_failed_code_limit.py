"""Tests of the bound on failed codes."""

import asyncio
import uuid

import pytest

from scan_service.store.clock import DatabaseClock
from scan_service.store.tables import incidents
from scan_service.use_cases.failed_code_limit import FailedCodeLimit
from tests.environment.clock import SettableClock
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import NOW, Device, ScansDatabase, running_service, settings_of
from ticketing.admission.scans import Attempt, DenialReason, Gate, Scan, ScanType, Verdict
from ticketing.chassis.database import Database
from ticketing.chassis.failures import OVERLOADED, Failure
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb


@pytest.fixture
async def strict(database: ScansDatabase, tmp_path, issuer):
    """Run a service that allows three unknown codes a minute: one more every 20 s."""
    settings = settings_of(tmp_path, issuer, SCANS_MAX_FAILED_CODES="3")
    async with running_service(settings, database.url, issuer) as service:
        yield service


def made_up() -> str:
    return f"TKT-{uuid.uuid4().hex[:16].upper()}"


async def incidents_of(service, event_id):
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    return (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents


async def test_a_device_that_guesses_codes_is_refused_and_reported(database, strict):
    event_id = database.event()
    ticket, other = database.ticket(event_id), database.ticket(event_id)
    device = Device(strict)
    await device.open(event_id)
    for _ in range(2):
        scan = await device.scan(made_up())
        assert scan.denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
    assert await incidents_of(strict, event_id) == []
    last = await device.scan(made_up())
    await device.ask(made_up())
    await device.ask(ticket.code)
    for _ in range(2):
        # A known code is refused too: the answer must not reveal whether a code exists.
        assert (await device.receive()).rejected.reason == error_reason_pb2.ERROR_REASON_OVERLOADED
    # The gate keeps admitting tokens.
    assert (await device.scan(other.token)).verdict == scan_pb2.VERDICT_ADMITTED
    [incident] = await until(lambda: incidents_of(strict, event_id))
    assert incident.kind == scan_pb2.INCIDENT_KIND_CODE_GUESSING
    assert [scan.scan_id for scan in incident.scans] == [last.scan_id]
    # Other scanners are not refused.
    stranger = strict.issuer.metadata("scanner", "sue")
    assert (await strict.scan(event_id, ticket.code, metadata=stranger)).verdict == scan_pb2.VERDICT_ADMITTED
    device.call.cancel()


async def test_a_guess_whose_incident_is_locked_delays_no_scan(database, strict):
    event_id = database.event()
    ticket = database.ticket(event_id)
    device = Device(strict)
    await device.open(event_id)
    for _ in range(2):
        await device.scan(made_up())
    with database.engine.connect() as connection, connection.begin() as transaction:
        # Another session has inserted the same incident, and neither commits nor rolls back for some time.
        row = {"event_id": event_id, "kind": "CODE_GUESSING", "subject": uuid.uuid5(uuid.NAMESPACE_OID, "\0sam")}
        connection.execute(incidents.insert().values(**row, incident_id=uuid.uuid4(), create_time=NOW))
        assert (await device.scan(made_up())).verdict == scan_pb2.VERDICT_DENIED
        assert (await device.scan(ticket.token)).verdict == scan_pb2.VERDICT_ADMITTED
        transaction.rollback()
    [incident] = await until(lambda: incidents_of(strict, event_id))
    assert incident.kind == scan_pb2.INCIDENT_KIND_CODE_GUESSING
    device.call.cancel()


async def test_many_guesses_at_once_do_not_exceed_the_limit(database, strict):
    event_id = database.event()
    device = Device(strict)
    await device.open(event_id)
    with database.engine.begin() as connection:
        # While the event row is locked, the scans gather in one batch.
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        await device.ask("nothing")
        for _ in range(7):
            await device.ask(made_up())
    answers = [await device.receive() for _ in range(8)]
    assert [answer.WhichOneof("message") for answer in answers] == ["result"] * 4 + ["rejected"] * 4
    device.call.cancel()


async def test_validations_at_once_do_not_exceed_the_limit(database, strict):
    gate = scan_pb2.Gate(event_id=str(database.event()))
    calls = (
        strict.scans.ValidateTicket(pb.ValidateTicketRequest(gate=gate, code=made_up()), metadata=strict.scanner)
        for _ in range(8)
    )
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, pb.ValidateTicketResponse) for answer in answers) == 3


async def test_known_codes_of_one_batch_are_not_counted(database, strict):
    event_id = database.event()
    device = Device(strict)
    await device.open(event_id)
    for _ in range(3):
        for _ in range(3):
            await device.ask(database.ticket(event_id).code)
        for _ in range(3):
            assert (await device.receive()).result.verdict == scan_pb2.VERDICT_ADMITTED
    device.call.cancel()


async def test_codes_of_a_failed_batch_are_not_counted(scans_url):
    away = Database(scans_url, "test")
    limit = FailedCodeLimit(1, away, DatabaseClock())
    attempt = Attempt(uuid.uuid4(), Gate(uuid.uuid4(), "", frozenset()), "", b"x", ScanType.CHECK_IN, "sam", None, {})

    async def fail(_):
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await limit.process([attempt], fail)
    await away.close()


async def test_guesses_by_validation_count_too(database, strict):
    event_id = database.event()
    gate = scan_pb2.Gate(event_id=str(event_id))
    for _ in range(3):
        await strict.scans.ValidateTicket(pb.ValidateTicketRequest(gate=gate, code=made_up()), metadata=strict.scanner)
    assert (await refusal(strict.scan(event_id, made_up()))).reason == "OVERLOADED"


async def test_known_codes_and_other_texts_are_not_guesses(database, strict):
    event_id = database.event()
    tickets = [database.ticket(event_id) for _ in range(4)]
    for text in ("https://example.org", "x", "T1ABC", *(ticket.code for ticket in tickets)):
        await strict.scan(event_id, text)
    assert (await strict.scan(event_id, tickets[0].code)).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN


async def test_decisions_stay_where_the_incident_is_not_recorded(scans_url):
    """The database of the incidents does not answer."""
    away = Database(scans_url.set(database="nowhere"), "test")
    guessing = FailedCodeLimit(1, away, DatabaseClock())
    attempt = Attempt(uuid.uuid4(), Gate(uuid.uuid4(), "", frozenset()), "", b"x", ScanType.CHECK_IN, "sam", None, {})

    async def decide(attempts):
        return [_denied(attempt) for attempt in attempts]

    [answer] = await guessing.process([attempt], decide)
    assert isinstance(answer, Scan)
    assert answer.denial_reason is DenialReason.TICKET_NOT_FOUND
    [answer] = await guessing.process([attempt], decide)
    assert isinstance(answer, Failure)
    assert answer.reason == OVERLOADED
    await away.close()


def _denied(attempt: Attempt) -> Scan:
    now = SettableClock()()
    return Scan(
        scan_id=attempt.scan_id,
        gate_event_id=attempt.gate.event_id,
        fingerprint=b"",
        code="",
        scan_type=attempt.scan_type,
        verdict=Verdict.DENIED,
        denial_reason=DenialReason.TICKET_NOT_FOUND,
        ticket_id=None,
        event_id=None,
        ticket_type=None,
        scan_time=now,
        record_time=now,
        location="",
        device_id="",
        scanner_user_id="sam",
        metadata={},
        previous=None,
    )
