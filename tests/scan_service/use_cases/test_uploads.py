"""Tests of uploads: offline decisions are recorded as shown, and conflicts become incidents."""

import asyncio
import uuid
from datetime import UTC, timedelta

import grpc
import pytest
from nacl.signing import SigningKey

from scan_service import app
from scan_service.use_cases.upload_pace import UPLOAD_REST, UploadPace
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Device, running_service, token_of
from tests.scanning.uploads import ACCESS, ADMITTED, BEGIN, DENIED, MINUTE, OUT, decided
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import signing_key_pb2


async def upload(device: Device, *scans) -> pb.Uploaded:
    await device.send(upload=pb.Upload(scans=scans))
    return (await device.receive()).uploaded


async def listed(service, event_id, **values) -> pb.ListIncidentsResponse:
    request = pb.ListIncidentsRequest(event_id=str(event_id), **values)
    return await service.scans.ListIncidents(request, metadata=service.scanner)


async def incidents(service, event_id) -> dict[str, list[list[str]]]:
    """Return the scan ids of every incident, by kind."""
    found: dict[str, list[list[str]]] = {}
    for incident in (await listed(service, event_id)).incidents:
        name = scan_pb2.IncidentKind.Name(incident.kind).removeprefix("INCIDENT_KIND_")
        found.setdefault(name, []).append([scan.scan_id for scan in incident.scans])
    return found


@pytest.fixture
async def device(database, service):
    made = Device(service)
    await made.open(database.event())
    return made


async def test_offline_decisions_are_recorded_once_as_shown(database, service, device):
    ticket = database.ticket(device.event_id)
    scan = decided(ticket.token, gate=scan_pb2.Gate(event_id=str(device.event_id), location="Backdoor"))
    uploaded = await upload(device, scan)
    [result] = uploaded.results
    assert (result.offline, result.verdict, result.location) == (True, ADMITTED, "Backdoor")
    assert result.scan_time.ToDatetime(tzinfo=UTC) == BEGIN
    assert await upload(device, scan, scan) == pb.Uploaded(results=[result, result])
    assert (await device.scan(ticket.token)).previous.scan_id == scan.scan_id
    assert await incidents(service, device.event_id) == {}


async def test_time_in_the_future_is_replaced_and_marked(database, service, device):
    ticket = database.ticket(device.event_id)
    # The clock of this device is three hours ahead.
    uploaded = await upload(device, decided(ticket.token, 240))
    [result] = uploaded.results
    assert result.doubtful_time
    assert result.scan_time == result.record_time
    [listed_scan] = (
        await service.scans.ListScans(pb.ListScansRequest(event_id=str(device.event_id)), metadata=service.scanner)
    ).scans
    assert listed_scan.doubtful_time


async def test_upload_from_the_future_and_its_repetition_have_one_record(database, device):
    ticket = database.ticket(device.event_id)
    scan = decided(ticket.token, 240, annulled=True)
    assert await upload(device, scan) == await upload(device, scan)


async def test_time_that_a_device_did_not_know_causes_no_incident(database, service, device):
    early = database.ticket(device.event_id, valid_from_time=BEGIN + 5 * MINUTE)
    late = database.ticket(device.event_id, valid_until_time=BEGIN - 5 * MINUTE)
    scans = [decided(ticket.token, clock_unknown=True) for ticket in (early, late)]
    uploaded = await upload(device, *scans)
    assert [(scan.doubtful_time, scan.scan_time.ToDatetime(tzinfo=UTC)) for scan in uploaded.results] == [
        (True, BEGIN),
        (True, BEGIN),
    ]
    assert await incidents(service, device.event_id) == {}
    # The same time of a device that knew it is an incident.
    await upload(device, decided(database.ticket(device.event_id, valid_from_time=BEGIN + 5 * MINUTE).token))
    assert list(await incidents(service, device.event_id)) == ["INVALID_ADMISSION"]


@pytest.mark.parametrize(
    "fault",
    [
        "scan_service.gate_stream.upload_lane.AttemptParser.read_offline",
        "scan_service.use_cases.uploads.UploadBatch.record",
    ],
)
async def test_an_internal_error_ends_the_stream_for_a_new_upload(database, service, device, monkeypatch, fault):
    ticket = database.ticket(device.event_id)
    scan = decided(ticket.token)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(fault, fail)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await upload(device, scan)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    again = Device(service)
    await again.open(device.event_id)
    assert (await upload(again, scan)).results[0].scan_id == scan.scan_id


async def test_scan_times_are_corrected_by_the_clock_offset(database, device):
    ticket = database.ticket(device.event_id)
    scan = decided(ticket.token, annulled=True)
    scan.offline.clock_offset.FromTimedelta(-10 * MINUTE)
    [result] = (await upload(device, scan)).results
    assert result.scan_time.ToDatetime(tzinfo=UTC) == BEGIN - 10 * MINUTE
    assert result.annul_time.ToDatetime(tzinfo=UTC) == BEGIN - 9.5 * MINUTE
    assert database.rows("tickets")[0]["check_in_time"] is None


async def test_a_ticket_admitted_by_two_devices_is_one_incident(database, service, device):
    ticket = database.ticket(device.event_id)
    live = await device.scan(ticket.token)
    scans = [decided(ticket.token, minute) for minute in (1, 2)]
    for scan in (*scans, *scans):
        await upload(device, scan)
    expected = [scans[0].scan_id, scans[1].scan_id, live.scan_id]
    assert await incidents(service, device.event_id) == {"DOUBLE_ADMISSION": [expected]}
    [incident] = (await listed(service, device.event_id)).incidents
    assert incident.ticket_id == str(ticket.ticket_id)
    # The check-in is the one with the earliest scan time.
    assert database.rows("tickets")[0]["check_in_time"] == BEGIN + MINUTE


async def test_a_double_admission_explained_later_is_no_incident(database, service, device):
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET admission_policy = 'RE_ENTRY'")
    ticket = database.ticket(device.event_id)
    await upload(device, decided(ticket.token, 1), decided(ticket.token, 3))
    assert list(await incidents(service, device.event_id)) == ["DOUBLE_ADMISSION"]
    await upload(device, decided(ticket.token, 2, kind=OUT))
    assert await incidents(service, device.event_id) == {}


async def test_an_exit_before_the_upload_of_its_entry_counts(database, service, device):
    """The entry was offline at another gate, so the exit was denied; the person left all the same."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET admission_policy = 'RE_ENTRY'")
    ticket = database.ticket(device.event_id)
    leaving = await device.scan(ticket.token, scan_type=OUT)
    assert leaving.denial_reason == scan_pb2.DENIAL_REASON_NOT_CHECKED_IN
    await upload(device, decided(ticket.token))
    assert (await device.scan(ticket.token)).verdict == ADMITTED
    # A denied exit that another device decided offline counts as well.
    await upload(device, decided(ticket.token, 1, kind=OUT, verdict=DENIED, denial_reason=leaving.denial_reason))
    assert await incidents(service, device.event_id) == {}
    assert [row["inside"] for row in database.rows("tickets")] == [True]


async def test_the_annulment_of_an_entry_keeps_its_denied_exit_apart(database, service, device, orga):
    ticket = database.ticket(device.event_id)
    leaving = await device.scan(ticket.token, scan_type=OUT)
    [entry] = (await upload(device, decided(ticket.token))).results
    refused = await refusal(
        service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=entry.scan_id), metadata=service.scanner)
    )
    assert refused.reason == "SCAN_NOT_ANNULLABLE"
    await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=entry.scan_id), metadata=orga)
    [row] = database.rows("tickets")
    assert (row["check_in_time"], row["inside"]) == (None, False)
    assert (await refusal(service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=leaving.scan_id), metadata=orga))).reason


async def test_annulling_one_of_two_admissions_ends_the_incident(database, service, device):
    ticket = database.ticket(device.event_id)
    live = await device.scan(ticket.token)
    await upload(device, decided(ticket.token))
    assert list(await incidents(service, device.event_id)) == ["DOUBLE_ADMISSION"]
    await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=live.scan_id), metadata=service.scanner)
    assert await incidents(service, device.event_id) == {}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"status": "CANCELLED"}, "REVOKED_ADMISSION"),
        ({"status": "REFUNDED"}, "REVOKED_ADMISSION"),
        ({"status": "BLOCKED"}, "REVOKED_ADMISSION"),
        ({"issue": 2}, "REVOKED_ADMISSION"),
        ({"valid_until_time": BEGIN - MINUTE}, "INVALID_ADMISSION"),
        ({"valid_from_time": BEGIN + MINUTE}, "INVALID_ADMISSION"),
    ],
)
async def test_an_admission_against_the_rules_is_one_incident(database, service, device, values, kind):
    scan = decided(database.ticket(device.event_id, **values).token)
    for _ in range(2):
        assert (await upload(device, scan)).results[0].verdict == ADMITTED
    assert await incidents(service, device.event_id) == {kind: [[scan.scan_id]]}


async def test_check_out_and_access_from_outside_are_incidents(database, service, device):
    ticket = database.ticket(device.event_id)
    leaving, going_on = decided(ticket.token, 2, kind=OUT), decided(ticket.token, 3, kind=ACCESS)
    await upload(device, going_on, leaving)
    expected = {"INVALID_ADMISSION": [[leaving.scan_id, going_on.scan_id]]}
    assert await incidents(service, device.event_id) == expected
    await upload(device, decided(ticket.token, 1))
    assert await incidents(service, device.event_id) == {"INVALID_ADMISSION": [[going_on.scan_id]]}


async def test_an_upload_after_the_event_is_no_incident(database, service, device):
    scan = decided(database.ticket(device.event_id).token)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET status = 'COMPLETED'")
    await upload(device, scan)
    assert await incidents(service, device.event_id) == {}


async def test_an_admission_to_a_cancelled_event_is_an_incident(database, service, device):
    scan = decided(database.ticket(device.event_id).token)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET closed = true")
    await upload(device, scan)
    assert await incidents(service, device.event_id) == {"REVOKED_ADMISSION": [[scan.scan_id]]}


async def test_wrong_unknown_and_forged_tokens_are_distinguished(database, service, device):
    elsewhere = decided(database.ticket(database.event()).token, 1)
    nothing = decided("nothing", 2)
    genuine = decided(database.unknown(device.event_id).token, 3)
    victim = database.ticket(device.event_id)
    database.key = SigningKey.generate()
    forged = decided(database.unknown(device.event_id, victim.ticket_id).token, 4)
    seen_through = decided(database.unknown(device.event_id).token, 5, verdict=DENIED)
    damaged = decided(victim.token[:-2], 6)
    uploaded = await upload(device, elsewhere, nothing, genuine, forged, seen_through, damaged)
    assert len(uploaded.results) == 6
    found = await incidents(service, device.event_id)
    # A device that admits a token without a valid signature is an incident at once, a denied read only with a second one.
    assert sorted(found.pop("FORGED_TOKEN")) == sorted([[s.scan_id] for s in (forged, damaged)])
    assert sorted(found.pop("INVALID_ADMISSION")) == sorted([[elsewhere.scan_id], [nothing.scan_id]])
    assert found == {}
    assert database.value(f"SELECT check_in_time FROM tickets WHERE ticket_id = '{victim.ticket_id}'") is None
    await service.scans.AnnulScan(
        pb.AnnulScanRequest(scan_id=elsewhere.scan_id), metadata=service.issuer.metadata("service")
    )
    assert (await incidents(service, device.event_id))["INVALID_ADMISSION"] == [[nothing.scan_id]]


def signed_with(database, event_id, key_id: int) -> str:
    return token_of(database.key, event_id, uuid.uuid4(), key_id=key_id)


async def test_a_token_is_not_forged_before_keys_are_fetched(database, service, device):
    """The ticket service does not answer, and it may have created a key since the last fetch."""
    token = signed_with(database, device.event_id, 2)
    assert (await device.scan(token)).denial_reason == scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
    [rejected] = (await upload(device, decided(token))).rejected
    assert rejected.reason == error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert await incidents(service, device.event_id) == {}


async def test_an_upload_with_a_new_key_is_recorded_after_the_fetch(database, paired, tickets):
    device, event_id = Device(paired), database.event()
    await device.open(event_id)
    await until(lambda: tickets[0].keys_asked == 2)
    key = signing_key_pb2.SigningKey(key_id=2, public_key=bytes(database.key.verify_key))
    key.activate_time.FromDatetime(BEGIN)
    tickets[0].keys = [key]
    paired.clock.advance(10 * MINUTE)
    # The scans follow the last fetch, however long ago this module was imported.
    minute = (paired.clock() - 5 * MINUTE - BEGIN) / MINUTE
    good, forged = (decided(signed_with(database, event_id, key_id), minute) for key_id in (2, 3))
    while (uploaded := await upload(device, good, forged)).rejected:
        reasons = {rejected.reason for rejected in uploaded.rejected}
        assert reasons == {error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE}
        paired.clock.advance(timedelta(seconds=2))
    assert [scan.verdict for scan in uploaded.results] == [ADMITTED] * 2
    assert await incidents(paired, event_id) == {"FORGED_TOKEN": [[forged.scan_id]]}


async def test_a_forged_token_at_a_gate_is_an_incident(database, service, device):
    database.key = SigningKey.generate()
    token = database.unknown(device.event_id).token
    scans = [await device.scan(token) for _ in range(2)]
    assert await incidents(service, device.event_id) == {"FORGED_TOKEN": [[scan.scan_id for scan in scans]]}


@pytest.mark.parametrize("is_uploaded", [False, True], ids=["live", "uploaded"])
async def test_a_read_that_lost_or_changed_a_character_is_no_forgery(database, service, device, is_uploaded):
    token = database.ticket(device.event_id).token
    changed = [token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in (20, 120, 150)]
    for text in [*changed, *(token[:place] + token[place + 1 :] for place in (20, 20, 120, 120))]:
        if is_uploaded:
            await upload(device, decided(text, verdict=DENIED))
        else:
            assert (await device.scan(text)).denial_reason == scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
    assert await incidents(service, device.event_id) == {}


async def test_a_forged_token_read_live_and_offline_is_one_incident(database, service, device):
    database.key = SigningKey.generate()
    token = database.unknown(device.event_id).token
    live = await device.scan(token)
    assert await incidents(service, device.event_id) == {}
    uploaded = decided(token, verdict=DENIED)
    await upload(device, uploaded)
    await upload(device, uploaded)
    [[scans]] = (await incidents(service, device.event_id)).values()
    assert sorted(scans) == sorted([live.scan_id, uploaded.scan_id])


async def test_repeated_annulments_of_an_uploaded_ticket_are_an_incident(database, service, device):
    ticket = database.ticket(device.event_id)
    scans = [decided(ticket.token, minute) for minute in range(3)]
    for minute, scan in enumerate(scans[:2]):
        scan.offline.annul_time.FromDatetime(BEGIN + (minute + 0.1) * MINUTE)
    for scan in reversed(scans):
        await upload(device, scan)
    assert await incidents(service, device.event_id) == {
        "REPEATED_ANNULMENT": [[scan.scan_id for scan in scans[:2]]],
    }


async def test_the_shown_decision_replaces_the_lost_answer(database, service, device):
    first, second = database.ticket(device.event_id), database.ticket(device.event_id)
    recorded = await device.scan(first.token)
    # The answer was lost; the device decided to deny.
    [result] = (await upload(device, decided(first.token, scan_id=recorded.scan_id, verdict=DENIED))).results
    assert (result.verdict, result.offline) == (DENIED, True)
    assert (await device.scan(first.token)).verdict == ADMITTED
    await device.scan(second.token)
    denied = await device.scan(second.token)
    shown = decided(second.token, 3, scan_id=denied.scan_id)
    assert (await upload(device, shown)).results[0].verdict == ADMITTED
    assert list(await incidents(service, device.event_id)) == ["DOUBLE_ADMISSION"]


async def test_the_same_decision_under_one_scan_id_keeps_the_record(database, service, device):
    ticket = database.ticket(device.event_id)
    recorded = await device.scan(ticket.token)
    [result] = (await upload(device, decided(ticket.token, scan_id=recorded.scan_id))).results
    assert result == recorded
    await upload(device, decided(ticket.token, scan_id=recorded.scan_id, annulled=True))
    [result] = (await upload(device, decided(ticket.token, scan_id=recorded.scan_id))).results
    assert result.HasField("annul_time")
    assert database.rows("tickets")[0]["check_in_time"] is None


async def test_an_annulment_during_an_upload_is_kept(database, device):
    ticket = database.ticket(device.event_id)
    scan_id = (await upload(device, decided(ticket.token, 5))).results[0].scan_id
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        await device.send(upload=pb.Upload(scans=[decided(ticket.token, 3, scan_id=scan_id)]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        connection.exec_driver_sql("UPDATE scans SET annul_time = now()")
    [result] = (await device.receive()).uploaded.results
    assert result.scan_time.ToDatetime(tzinfo=UTC) == BEGIN + 3 * MINUTE
    assert result.HasField("annul_time")
    assert database.rows("scans")[0]["annul_time"] is not None
    assert database.rows("tickets")[0]["check_in_time"] is None


async def test_another_person_may_upload_the_scan(database, service, device, issuer):
    ticket = database.ticket(device.event_id)
    recorded = await device.scan(ticket.token)
    other = Device(service, issuer.metadata("scanner", "other"))
    await other.open(device.event_id)
    shown = decided(ticket.token, scan_id=recorded.scan_id, verdict=DENIED)
    assert (await upload(other, shown)).results[0].verdict == DENIED


async def test_invalid_scans_of_an_upload_are_rejected_alone(database, service, device):
    ticket = database.ticket(device.event_id)
    good = decided(ticket.token)
    reused = decided("other", scan_id=good.scan_id)
    nowhere = decided(ticket.token, gate=scan_pb2.Gate(event_id=str(uuid.uuid4())))
    live = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code="x")
    odd = decided(ticket.token, denial_reason=scan_pb2.DENIAL_REASON_BLOCKED)
    late = decided(ticket.token)
    late.offline.clock_offset.seconds = 10**9
    beyond = decided(ticket.token)
    beyond.offline.scan_time.seconds = 253_402_300_799
    beyond.offline.clock_offset.seconds = 3600
    uploaded = await upload(device, good, reused, nowhere, live, odd, late, beyond)
    assert [scan.scan_id for scan in uploaded.results] == [good.scan_id]
    invalid = error_reason_pb2.ERROR_REASON_INVALID_ARGUMENT
    assert [(r.scan_id, r.reason) for r in uploaded.rejected] == [
        (reused.scan_id, error_reason_pb2.ERROR_REASON_SCAN_ID_REUSED),
        (nowhere.scan_id, error_reason_pb2.ERROR_REASON_EVENT_NOT_FOUND),
        *((attempt.scan_id, invalid) for attempt in (live, odd, late, beyond)),
    ]
    assert await upload(device) == pb.Uploaded()


async def test_an_offline_scan_is_recorded_without_a_stream(database, service):
    event_id = database.event()
    scan = decided(database.ticket(event_id).token)
    result = await service.scan(event_id, scan.code, scan_id=scan.scan_id, offline=scan.offline)
    assert (result.offline, result.verdict) == (True, ADMITTED)


async def test_a_waiting_upload_delays_no_live_scan(database, service, device):
    slow, quick = database.ticket(device.event_id), database.ticket(device.event_id)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT 1 FROM tickets WHERE ticket_id = '{slow.ticket_id}' FOR UPDATE")
        await device.send(upload=pb.Upload(scans=[decided(slow.token)]))
        await device.send(upload=pb.Upload(scans=[pb.ScanAttempt()]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        assert (await device.scan(quick.token)).verdict == ADMITTED
        await device.call.done_writing()
    # The answers keep their order, although the second upload requires no work.
    assert len((await device.receive()).uploaded.results) == 1
    assert len((await device.receive()).uploaded.rejected) == 1
    assert await device.receive() is grpc.aio.EOF


async def test_uploads_rest_after_a_batch_beside_a_live_scan(database, settings, issuer, monkeypatch):
    now, rests = 1_000.0, []

    async def rest(seconds):
        rests.append(seconds)

    monkeypatch.setattr(app, "UploadPace", lambda: UploadPace(lambda: now, rest))
    async with running_service(settings, database.url, issuer) as service:
        device, gate = Device(service), Device(service)
        event_id = database.event()
        await device.open(event_id)
        await gate.open(event_id)
        ticket, other = database.ticket(event_id), database.ticket(event_id)
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT 1 FROM tickets WHERE ticket_id = '{ticket.ticket_id}' FOR UPDATE")
            await device.send(upload=pb.Upload(scans=[decided(ticket.token)]))
            await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            await gate.scan(other.token)
            now += 0.05
        await device.receive()
        assert rests == []
        for _ in range(2):
            await upload(device, decided(other.token))
    # No live scan came beside the second batch.
    assert rests == [pytest.approx(UPLOAD_REST * 0.05)]


async def test_draining_answers_uploads_before_reconnect(database, service, device):
    ticket = database.ticket(device.event_id)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        await device.send(upload=pb.Upload(scans=[decided(ticket.token)]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        stopping = asyncio.create_task(service.app.stop())
    assert len((await device.receive()).uploaded.results) == 1
    assert (await device.receive()).HasField("reconnect")
    await device.call.done_writing()
    assert await device.receive() is grpc.aio.EOF
    await stopping


async def test_an_upload_answered_after_reading_ended_precedes_reconnect(database, service, device):
    ticket = database.ticket(device.event_id)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        await device.send(upload=pb.Upload(scans=[decided(ticket.token)]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await device.call.done_writing()
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "stream reader"])
        stopping = asyncio.create_task(service.app.stop())
    assert len((await device.receive()).uploaded.results) == 1
    assert (await device.receive()).HasField("reconnect")
    assert await device.receive() is grpc.aio.EOF
    await stopping


async def test_an_upload_of_a_cancelled_stream_is_recorded(database, service, device):
    ticket = database.ticket(device.event_id)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        await device.send(upload=pb.Upload(scans=[decided(ticket.token)]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        device.call.cancel()
    await until(lambda: database.rows("scans"))
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "upload lane"])


async def test_offline_scans_beyond_the_credits_end_the_stream(database, service, device):
    assert (await device.open(device.event_id)).max_outstanding_uploads == 1000
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM events FOR UPDATE")
        for _ in range(2):
            await device.send(upload=pb.Upload(scans=[decided("nothing") for _ in range(400)]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await device.send(upload=pb.Upload(scans=[decided("nothing") for _ in range(400)]))
    for _ in range(2):
        assert len((await device.receive()).uploaded.results) == 400
    assert (await refusal(device.receive())).reason == "OVERLOADED"


async def test_incidents_of_own_events_are_listed_page_by_page(database, service, device, issuer):
    scans = [decided(database.ticket(device.event_id, status="BLOCKED").token) for _ in range(5)]
    for scan in scans:
        await upload(device, scan)
    pages, token = [], ""
    while True:
        page = await listed(service, device.event_id, page_size=2, page_token=token)
        pages.append([incident.scans[0].scan_id for incident in page.incidents])
        token = page.next_page_token
        if not token:
            break
    newest_first = [scan.scan_id for scan in scans][::-1]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    request = pb.ListIncidentsRequest(event_id=str(device.event_id))
    refused = await refusal(service.scans.ListIncidents(request, metadata=issuer.metadata("organizer", "other")))
    assert refused.reason == "EVENT_NOT_FOUND"
    for bad in ("x", pages and token + "x"):
        assert (await refusal(listed(service, device.event_id, page_token=bad))).reason == "INVALID_ARGUMENT"
