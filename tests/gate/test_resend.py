"""Tests of gate devices that send again what the service has lost by a restore of its database."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from scan_service.commands.recover import recover
from tests.environment.access import Issuer
from tests.environment.waiting import eventually
from tests.scanning.gates import ScansDatabase, variables_of
from tests.scanning.restores import back_up, parsed, restore
from ticketing.admission.scans import DenialReason
from ticketing.gate.credential import Credential
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub

Recover = Callable[..., list[dict[str, object]]]


@pytest.fixture
def recovered(database: ScansDatabase, tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Recover:
    """Run the command of an operator; return its lines."""
    for name, value in variables_of(tmp_path, issuer).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("scan_service.commands.recover.ATTEMPTS", 1)

    def run(*arguments: str) -> list[dict[str, object]]:
        lines: list[str] = []
        recover(database.url, parsed("--json", *arguments), lines.append)
        return [json.loads(line) for line in lines]

    return run


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_a_lost_admission_comes_back_and_a_second_one_is_an_incident(
    database, wifi, office, new_handheld, recovered: Recover
):
    event_id = database.event()
    once, twice = database.ticket(event_id), database.ticket(event_id)
    north, south = (new_handheld(wifi.address, event_id, name).connect() for name in ("north", "south"))
    backup, moment = back_up(database.url), now()
    assert north.scan(once.token).admitted
    first = north.scan(twice.token)
    assert first.admitted
    restore(database.url, backup)
    # Nobody knows yet that the ticket is used: the gates go on, and the second admission becomes an incident.
    assert south.scan(twice.token).admitted
    recovered("--since", moment)
    eventually(lambda: len(office.scans(event_id)) == 3)
    assert south.scan(once.token).reason is DenialReason.ALREADY_CHECKED_IN
    assert office.incidents(event_id) == [(scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, str(twice.ticket_id), 2)]
    [scan] = [scan for scan in office.scans(event_id) if scan.scan_id == first.scan_id]
    assert scan.scan_time.ToDatetime(tzinfo=UTC) == first.time
    assert scan.location == "north"


def test_the_own_gate_admits_nobody_twice_before_its_scan_is_sent_again(
    database, wifi, new_handheld, recovered: Recover, monkeypatch
):
    event_id = database.event()
    ticket = database.ticket(event_id)
    north = new_handheld(wifi.address, event_id, "north").connect()
    backup, moment = back_up(database.url), now()
    assert north.scan(ticket.token).admitted
    # The scan is queued, and never delivered.
    monkeypatch.setattr("ticketing.gate.delivery.UPLOAD_SCANS", 0)
    restore(database.url, backup)
    recovered("--since", moment)
    eventually(lambda: north.store.queue_length() == 1)
    assert not north.scan(ticket.token).admitted


def test_annulled_checked_out_delivered_and_typed_scans_come_back(
    database, wifi, office, new_handheld, recovered: Recover
):
    event_id = database.event(admission_policy="RE_ENTRY")
    annulled, delivered, typed = (database.ticket(event_id) for _ in range(3))
    north = new_handheld(wifi.address, event_id, "north").follow().connect()
    eventually(lambda: north.store.replica_state(event_id).is_complete)
    backup, moment = back_up(database.url), now()
    assert north.scan(annulled.token).admitted
    assert north.device.annul_last().annulled
    assert north.scan(typed.code).admitted
    wifi.pull()
    eventually(lambda: not north.connection.is_reachable())
    assert north.scan(delivered.token).offline
    wifi.plug_in()
    eventually(lambda: len(office.scans(event_id)) == 3)
    before = {scan.scan_id: scan for scan in office.scans(event_id)}
    restore(database.url, backup)
    recovered("--since", moment)
    eventually(lambda: len(office.scans(event_id)) == 3)
    after = {scan.scan_id: scan for scan in office.scans(event_id)}
    assert after.keys() == before.keys()
    for scan_id, scan in before.items():
        again = after[scan_id]
        assert (again.ticket_id, again.scan_time, again.HasField("annul_time")) == (
            scan.ticket_id,
            scan.scan_time,
            scan.HasField("annul_time"),
        )
    assert office.incidents(event_id) == []


def test_scans_that_are_not_lost_are_sent_again_without_effect(
    database, wifi, office, new_handheld, recovered: Recover
):
    event_id = database.event()
    ticket = database.ticket(event_id)
    north = new_handheld(wifi.address, event_id, "north").connect()
    moment = now()
    assert north.scan(ticket.token).admitted
    before = office.scans(event_id)
    recovered("--since", moment)
    eventually(lambda: north.store.setting("resent") is not None and not north.store.queue_length())
    assert office.scans(event_id) == before
    assert office.incidents(event_id) == []


def test_the_command_lists_the_devices_that_have_not_answered(database, wifi, issuer, new_handheld, recovered: Recover):
    event_id = database.event()
    ticket = database.ticket(event_id)
    orga = issuer.metadata("organizer", "orga")
    with grpc.insecure_channel(wifi.address) as channel:
        stub = DeviceServiceStub(channel)
        tokens = []
        for name in ("One", "Two"):
            created = stub.CreateDevice(devices_pb.CreateDeviceRequest(name=name), metadata=orga)
            enrolled = stub.EnrollDevice(devices_pb.EnrollDeviceRequest(enrollment_code=created.enrollment_code))
            tokens.append(enrolled.access_token)
        one, _ = (
            new_handheld(wifi.address, event_id, name, credential=Credential(token))
            for name, token in zip(("one", "two"), tokens, strict=True)
        )
        one.connect()
        backup, moment = back_up(database.url), now()
        assert one.scan(ticket.token).admitted
        restore(database.url, backup)
        recovered("--since", moment)

        def pending() -> list[str]:
            listed = stub.ListDevices(devices_pb.ListDevicesRequest(), metadata=orga)
            return [device.name for device in listed.devices if device.resend_pending]

        eventually(lambda: pending() == ["Two"])
        lines = recovered()
    assert [line["name"] for line in lines if line["kind"] == "pending_device"] == ["Two"]
    assert (lines[0]["resent"], lines[0]["complete"]) == (1, False)


def test_a_device_asks_once_and_reports_at_each_stream(database, wifi, new_handheld, recovered: Recover):
    event_id = database.event()
    north = new_handheld(wifi.address, event_id, "north").connect()
    recovered("--since", now())
    eventually(lambda: north.store.setting("resent") is not None)
    assert north.store.queue_length() == 0


def test_old_scans_and_denied_ones_are_not_kept(database, wifi, new_handheld):
    event_id = database.event()
    north = new_handheld(wifi.address, event_id, "north").connect()
    assert not north.scan("nothing").admitted
    assert north.scan(database.ticket(event_id).token).admitted
    recovery_id = str(uuid.uuid4())
    north.store.queue_kept(recovery_id, datetime.now(UTC) + timedelta(seconds=1))
    assert north.store.queue_length() == 0
    north.store.queue_kept(recovery_id, datetime.now(UTC) - timedelta(hours=1))
    # The recovery was served before.
    assert north.store.queue_length() == 0
