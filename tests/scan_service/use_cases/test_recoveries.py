"""Tests of recoveries: check-ins that only the ticket service still has come back, once."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc.aio
import pytest

from scan_service.commands.recover import recover
from scan_service.store.tables import feed_cursors
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Device, ScansDatabase, Service, variables_of
from tests.scanning.restores import back_up, parsed, restore
from ticketing.chassis.settings import SettingsError
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2 import CheckIn, WatchTicketsResponse

Metadata = tuple[tuple[str, str], ...]
Recover = Callable[..., Awaitable[list[dict[str, object]]]]


@pytest.fixture
def recovered(database: ScansDatabase, tmp_path, issuer, tickets, monkeypatch) -> Recover:
    """Run the command of an operator beside the service; return its lines."""
    for name, value in (variables_of(tmp_path, issuer) | {"SCANS_TICKETS_ADDRESS": tickets[1]}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("scan_service.commands.recover.PAUSE_SECONDS", 0.0)

    async def run(*arguments: str) -> list[dict[str, object]]:
        lines: list[str] = []
        await asyncio.to_thread(recover, database.url, parsed("--json", *arguments), lines.append)
        return [json.loads(line) for line in lines]

    return run


async def scans_of(service: Service, event_id: uuid.UUID) -> list[scan_pb2.Scan]:
    request = pb.ListScansRequest(event_id=str(event_id), page_size=1_000)
    return list((await service.scans.ListScans(request, metadata=service.scanner)).scans)


async def incidents_of(service: Service, event_id: uuid.UUID) -> list[tuple[int, int]]:
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    listed = (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents
    return [(incident.kind, len(incident.scans)) for incident in listed]


def since() -> list[str]:
    return ["--since", datetime.now(UTC).isoformat()]


async def resend(service: Service, scan: scan_pb2.Scan, text: str) -> None:
    """Upload a live scan as its gate has shown it."""
    device = Device(service)
    await device.open(uuid.UUID(scan.gate_event_id), scan.location)
    attempt = pb.ScanAttempt(scan_id=scan.scan_id, code=text)
    attempt.offline.verdict, attempt.offline.scan_time.seconds = scan.verdict, 0
    attempt.offline.scan_time.CopyFrom(scan.scan_time)
    while (await device_answer(device, attempt)).WhichOneof("message") != "uploaded":
        pass


async def device_answer(device: Device, attempt: pb.ScanAttempt) -> pb.StreamScansResponse:
    if attempt is not None:
        await device.send(upload=pb.Upload(scans=[attempt]))
    return await device.receive()


async def test_a_reported_check_in_is_taken_back_and_replaced_by_the_gates_scan(
    database, paired, tickets, recovered: Recover
):
    event_id = database.event()
    shown = database.ticket(event_id)
    backup, moment = back_up(database.url), since()
    lost = await paired.scan(event_id, shown.token)
    await until(lambda: bool(tickets[0].reported))
    restore(database.url, backup)
    lines = await recovered(*moment)
    assert (lines[0]["recovered"], lines[0]["problem"]) == (1, "")
    assert [line["ticket_id"] for line in lines if line["kind"] == "recovered_check_in"] == [str(shown.ticket_id)]

    again = await paired.scan(event_id, shown.token)
    assert again.denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    assert again.previous.scan_time == lost.scan_time
    [record] = [scan for scan in await scans_of(paired, event_id) if scan.recovered]
    assert (record.verdict, record.location, record.scan_time) == (scan_pb2.VERDICT_ADMITTED, "", lost.scan_time)

    await resend(paired, lost, shown.token)
    admitted = [s for s in await scans_of(paired, event_id) if s.verdict == scan_pb2.VERDICT_ADMITTED]
    assert [(scan.scan_id, scan.recovered) for scan in admitted] == [(lost.scan_id, False)]
    assert await incidents_of(paired, event_id) == []


async def test_a_recovery_keeps_the_revisions_for_a_restored_ticket_service(database, recovered: Recover):
    database.insert(feed_cursors, event_id=database.event(), revision=7)
    await recovered(*since())
    assert database.value("SELECT epoch FROM feed") == ""
    assert database.value("SELECT revision FROM feed_cursors") == 7


async def test_a_second_admission_before_the_recovery_is_an_incident(database, paired, tickets, recovered: Recover):
    event_id = database.event()
    shown = database.ticket(event_id)
    backup, moment = back_up(database.url), since()
    lost = await paired.scan(event_id, shown.token)
    await until(lambda: bool(tickets[0].reported))
    restore(database.url, backup)
    assert (await paired.scan(event_id, shown.token)).verdict == scan_pb2.VERDICT_ADMITTED
    lines = await recovered(*moment)
    assert [line["incident_kind"] for line in lines if line["kind"] == "incident"] == ["DOUBLE_ADMISSION"]
    # The scan of the gate takes the place of the recovered one in the incident.
    await resend(paired, lost, shown.token)
    assert await incidents_of(paired, event_id) == [(scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, 2)]


async def test_an_annulment_after_the_dump_is_taken_back(database, paired, tickets, recovered: Recover):
    event_id = database.event()
    shown = database.ticket(event_id)
    scan = await paired.scan(event_id, shown.token)
    await until(lambda: bool(tickets[0].reported))
    backup, moment = back_up(database.url), since()
    await paired.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=paired.scanner)
    await until(lambda: not tickets[0].reported[-1].HasField("check_in_time"))
    restore(database.url, backup)
    lines = await recovered(*moment)
    assert (lines[0]["recovered"], lines[0]["annulled"]) == (0, 1)
    # The person has not entered, and may.
    assert (await paired.scan(event_id, shown.token)).verdict == scan_pb2.VERDICT_ADMITTED


async def test_reports_after_a_recovery_are_newer_than_those_before(database, paired, tickets, recovered: Recover):
    event_id = database.event()
    shown = database.ticket(event_id)
    backup, moment = back_up(database.url), since()
    for _ in range(3):
        scan = await paired.scan(event_id, shown.token)
        await paired.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=paired.scanner)
    await until(lambda: bool(tickets[0].reported) and tickets[0].reported[-1].sequence == 6)
    restore(database.url, backup)
    await recovered(*moment)
    await paired.scan(event_id, shown.token)
    await until(lambda: tickets[0].reported[-1].sequence == 7 and tickets[0].reported[-1].HasField("check_in_time"))


async def test_a_check_in_of_a_ticket_that_is_not_replicated_yet_is_taken_back(
    database, paired, tickets, recovered: Recover
):
    event_id = database.event()
    shown = database.unknown(event_id)
    report = CheckIn(event_id=str(event_id), ticket_id=str(shown.ticket_id), sequence=1)
    report.check_in_time.FromDatetime(datetime.now(UTC))
    tickets[0].reported.append(report)
    # A ticket whose check-in was annulled needs no row.
    tickets[0].reported.append(CheckIn(event_id=str(event_id), ticket_id=str(uuid.uuid4()), sequence=2))
    await recovered(*since())
    assert [row["ticket_id"] for row in database.rows("tickets")] == [shown.ticket_id]
    assert (await paired.scan(event_id, shown.token)).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN


async def test_an_interrupted_recovery_continues_behind_its_last_page(database, paired, tickets, recovered: Recover):
    event_id = database.event()
    shown = [database.ticket(event_id) for _ in range(5)]
    backup, moment = back_up(database.url), since()
    for ticket in shown:
        await paired.scan(event_id, ticket.token)
    await until(lambda: len({report.ticket_id for report in tickets[0].reported}) == len(shown))
    restore(database.url, backup)
    tickets[0].page_size = 2
    tickets[0].refused_lists = {2, 3}
    lines = await recovered(*moment)
    assert (lines[0]["recovered"], lines[0]["problem"]) == (5, "")
    await until(lambda: database.value("SELECT check_ins_time IS NOT NULL FROM recoveries"))
    assert database.value("SELECT count(*) FROM scans") == len(shown)
    # The recovery is continued, not begun again.
    assert (await recovered())[0]["recovered"] == len(shown)
    assert database.value("SELECT count(*) FROM recoveries") == 1


async def test_nothing_changes_where_nothing_is_lost(database, paired, tickets, recovered: Recover):
    event_id = database.event(admission_policy="RE_ENTRY")
    shown = [database.ticket(event_id) for _ in range(3)]
    moment = since()
    for number, ticket in enumerate(shown):
        scan = await paired.scan(event_id, ticket.token)
        if number == 1:
            await paired.scan(event_id, ticket.token, scan_type=scan_pb2.SCAN_TYPE_CHECK_OUT)
        if number == 2:
            await paired.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=paired.scanner)
    reported = sum(ticket.sequence for ticket in await settled(tickets, len(shown)))
    scans, states = database.rows("scans"), admissions(database)
    lines = await recovered(*moment)
    assert (lines[0]["recovered"], lines[0]["annulled"], lines[0]["complete"]) == (0, 0, True)
    assert (database.rows("scans"), admissions(database)) == (scans, states)
    assert reported == database.value("SELECT sum(sequence) FROM tickets")


async def settled(tickets, count: int) -> list[CheckIn]:
    """Wait until the last state of each ticket is reported."""

    def latest() -> list[CheckIn]:
        found = {report.ticket_id: report for report in tickets[0].reported}
        return list(found.values())

    await until(lambda: len(latest()) == count and sum(report.sequence for report in latest()) == count + 1)
    return latest()


def admissions(database: ScansDatabase) -> list[tuple[object, ...]]:
    names = ("ticket_id", "check_in_time", "entry_scan_id", "inside", "sequence")
    return sorted((tuple(row[name] for name in names) for row in database.rows("tickets")), key=str)


async def test_the_feed_is_followed_anew_beside_a_running_service(database, paired, tickets, recovered: Recover):
    stand_in, event_id = tickets[0], database.event()
    await stand_in.pages.put(page_of(event_id, "known"))
    await until(lambda: database.value("SELECT epoch FROM feed") == "known")
    await until(lambda: database.value("SELECT whole_time IS NOT NULL FROM feed"))
    watched = len(stand_in.watched)
    await recovered(*since())
    await until(lambda: len(stand_in.watched) > watched)
    # The revisions stay until the first page. The ticket service ignores them, because no database has an empty epoch.
    assert (stand_in.watched[-1].epoch, dict(stand_in.watched[-1].after_revisions)) == ("", {str(event_id): 1})


def page_of(event_id: uuid.UUID, epoch: str) -> WatchTicketsResponse:
    page = WatchTicketsResponse(epoch=epoch, revision=1)
    page.event.event_id, page.event.revision = str(event_id), 1
    page.event.valid_from_time.FromDatetime(datetime.now(UTC))
    page.event.valid_until_time.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    return page


async def test_a_running_service_needs_the_moment_of_the_restore(database, paired, recovered: Recover):
    await until(lambda: database.value("SELECT seen_time IS NOT NULL FROM feed"))
    with pytest.raises(SettingsError, match="give --since TIME"):
        await recovered()


async def test_without_a_moment_the_last_time_that_the_service_ran_counts(database, recovered: Recover):
    seen = datetime.now(UTC) - timedelta(hours=3)
    database.event()
    database.value(f"UPDATE feed SET whole_time = '{seen.isoformat()}' RETURNING 1")
    lines = await recovered()
    assert lines[0]["since_time"] == seen.isoformat()
    assert lines[0]["complete"] is True


async def test_a_later_moment_of_the_same_restore_continues_the_recovery(database, recovered: Recover):
    earlier, later = since(), since()
    [first, *_] = await recovered(*earlier)
    [second, *_] = await recovered(*later)
    assert (second["recovery_id"], second["since_time"]) == (first["recovery_id"], first["since_time"])


async def test_a_restore_during_a_recovery_asks_the_gates_again(database, recovered: Recover):
    [first, *_] = await recovered(*since())
    moment = since()
    [second, *_] = await recovered(*moment)
    assert second["recovery_id"] != first["recovery_id"]
    assert second["since_time"] == moment[1]


async def test_a_gate_that_has_not_answered_is_asked_for_the_earlier_loss_too(
    database, paired, orga, recovered: Recover
):
    await enrolled(paired, orga, "Switched off")
    [first, *_] = await recovered(*since())
    [second, *_] = await recovered(*since())
    assert second["recovery_id"] != first["recovery_id"]
    assert second["since_time"] == first["since_time"]


async def test_the_moment_that_a_recovery_keeps_is_printed(database, recovered: Recover):
    earlier, later = since(), since()
    await recovered(*earlier)
    lines: list[str] = []
    await asyncio.to_thread(recover, database.url, parsed(*later), lines.append)
    assert any(line.startswith("the moment stays ") for line in lines)


async def test_keys_are_retired_and_devices_revoked_by_the_same_command(database, paired, recovered: Recover):
    await recovered(*since(), "--retire-keys", "1", "--revoke-devices", "all")
    assert database.value("SELECT count(*) FROM retired_keys") == 1


async def test_a_device_that_was_asked_when_it_opened_is_not_asked_twice(database, paired, recovered: Recover):
    event_id = database.event()
    [presence] = [task for task in paired.app.tasks.running() if task.record.name == "presence"]
    await presence.stop()
    await recovered(*since())
    device = Device(paired)
    assert (await device.open(event_id)).HasField("resend")
    await presence.step()
    assert (await device.scan("nothing")).scan_id
    presence.start()


async def test_devices_are_asked_until_the_recovery_is_closed(database, paired, recovered: Recover):
    event_id = database.event()
    await recovered(*since())
    device = Device(paired)
    assert (await device.open(event_id)).HasField("resend")
    device.call.cancel()
    await recovered("--close")
    device = Device(paired)
    assert not (await device.open(event_id)).HasField("resend")


async def enrolled(service: Service, orga, name: str) -> tuple[str, Metadata]:
    """Enroll a device; return its id and its credential."""
    created = await service.devices.CreateDevice(devices_pb.CreateDeviceRequest(name=name), metadata=orga)
    request = devices_pb.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
    token = (await service.devices.EnrollDevice(request)).access_token
    return created.device.device_id, (("authorization", f"Bearer {token}"),)


async def test_revoked_devices_stay_revoked_and_enrolled_ones_go_on(
    database, paired, tickets, orga, recovered: Recover
):
    stand_in, event_id = tickets[0], database.event()
    stolen_id, stolen = await enrolled(paired, orga, "Stolen")
    created = await paired.devices.CreateDevice(devices_pb.CreateDeviceRequest(name="Late"), metadata=orga)
    await until(lambda: len(stand_in.devices) == 2)
    backup, moment = back_up(database.url), since()
    await paired.devices.RevokeDevice(devices_pb.RevokeDeviceRequest(device_id=stolen_id), metadata=orga)
    request = devices_pb.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
    late = (("authorization", f"Bearer {(await paired.devices.EnrollDevice(request)).access_token}"),)
    new_id, new = await enrolled(paired, orga, "New")
    await until(lambda: database.value("SELECT count(*) FROM devices WHERE NOT reported") == 0)
    restore(database.url, backup)

    # Until the recovery, the stolen device works again, and the new ones do not.
    thief = Device(paired, stolen)
    await thief.open(event_id)
    lines = await recovered(*moment)
    assert (lines[0]["restored_devices"], lines[0]["revoked_devices"]) == (2, 1)
    assert (await last_of(thief)).reason == "UNAUTHENTICATED"
    for credential in (late, new):
        # A refused credential is remembered for a moment.
        await until(partial(opens, paired, event_id, credential))
    pending = {line["name"] for line in lines if line["kind"] == "pending_device"}
    assert pending == {"Late", "New"}
    assert new_id in {line.get("device_id") for line in lines}


async def test_devices_without_a_revocation_are_listed_until_they_are_revoked(
    database, paired, orga, recovered: Recover
):
    stolen_id, stolen = await enrolled(paired, orga, "Stolen")
    backup, moment = back_up(database.url), since()
    # The ticket service does not get the revocation.
    [reports] = [task for task in paired.app.tasks.running() if task.record.name == "device_reports"]
    await reports.stop()
    await paired.devices.RevokeDevice(devices_pb.RevokeDeviceRequest(device_id=stolen_id), metadata=orga)
    restore(database.url, backup)
    listed = [line["name"] for line in await recovered(*moment) if line["kind"] == "active_device"]
    assert listed == ["Stolen"]
    await enrolled(paired, orga, "Enrolled after the restore")
    lines = await recovered("--revoke-devices", stolen_id)
    assert [line for line in lines if line["kind"] == "active_device"] == []
    assert not await opens(paired, database.event(), stolen)
    reports.start()


async def last_of(device: Device) -> Any:
    """Return the refusal that ends a stream."""
    while True:
        receiving = asyncio.ensure_future(device.receive())
        await asyncio.wait([receiving])
        if receiving.exception() is not None:
            return await refusal(receiving)


async def opens(service: Service, event_id: uuid.UUID, credential: Metadata) -> bool:
    device = Device(service, credential)
    try:
        await device.open(event_id)
    except grpc.aio.AioRpcError:
        return False
    device.call.cancel()
    return True


async def test_devices_are_reported_again_to_a_restored_ticket_service(database, paired, tickets, orga):
    stand_in, event_id = tickets[0], database.event()
    await enrolled(paired, orga, "One")
    await until(lambda: len(stand_in.devices) == 1)
    stand_in.devices.clear()
    await stand_in.pages.put(page_of(event_id, "restored"))
    await until(lambda: len(stand_in.devices) == 1)
