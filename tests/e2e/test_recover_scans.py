"""The scans database of a running pair is restored to an earlier moment, and recovered from the ticket service."""

import json
import os
import subprocess
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime

import grpc
import pytest
from sqlalchemy.engine import URL

from dev.clients import ApiClient
from tests.e2e.service_pair import ServicePair, buy, new_gate, on_sale
from tests.environment import ROOT
from tests.environment.databases import read_value
from tests.environment.waiting import eventually
from tests.scanning.restores import back_up, restore
from ticketing.scans.v1 import device_service_pb2, scan_pb2
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub
from ticketing.tickets.v1 import ticket_service_pb2

pytestmark = pytest.mark.slow


def recover(pair: ServicePair, *arguments: str) -> list[dict[str, object]]:
    """Run the command of an operator."""
    command = [sys.executable, "-m", "scan_service", "recover", "--json", *arguments]
    path = f"{ROOT}{os.pathsep}{ROOT / 'protos'}"
    variables = {**os.environ, "PYTHONPATH": path, **pair.variables}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_ticket_service_has_comes_back(pair: ServicePair, tickets_url: URL, scans_url: URL) -> None:
    organizer, shop, bob = pair.caller("organizer", "alice"), pair.caller("service", "shop"), pair.caller("user", "bob")
    event = on_sale(organizer)
    admitted, cancelled, reissued = buy(shop, event, quantity=3).tickets
    new_gate(pair, event.event_id).close()
    tickets = "SELECT count(*) FROM tickets"
    eventually(lambda: read_value(scans_url, tickets), 3)
    backup, moment = back_up(scans_url), datetime.now(UTC).isoformat()

    with closing(new_gate(pair, event.event_id)) as gate:
        assert gate.scan(admitted.token).verdict == scan_pb2.VERDICT_ADMITTED
    bob.ask(bob.tickets.CancelTicket, ticket_service_pb2.CancelTicketRequest(ticket_id=cancelled.ticket_id))
    request = ticket_service_pb2.ReissueTicketRequest(ticket_id=reissued.ticket_id, request_id=str(uuid.uuid4()))
    newer = bob.ask(bob.tickets.ReissueTicket, request).ticket
    late = buy(shop, event).tickets[0]
    devices = DeviceServiceStub(pair.stack.enter_context(grpc.insecure_channel(pair.address("SCANS"))))
    stolen = enroll(organizer, devices)
    organizer.ask(devices.RevokeDevice, device_service_pb2.RevokeDeviceRequest(device_id=stolen))
    eventually(lambda: read_value(tickets_url, "SELECT count(*) FROM tickets WHERE check_in_sequence > 0"), 1)
    reported = "SELECT count(*) FROM gate_devices WHERE state::jsonb ->> 'revoke_time' IS NOT NULL"
    eventually(lambda: read_value(tickets_url, reported), 1)

    pair.stop("scan_service")
    restore(scans_url, backup)
    first = recover(pair, "--since", moment)[0]
    assert (first["recovered"], first["restored_devices"], first["complete"]) == (1, 1, True)
    pair.start("scan_service")
    with closing(new_gate(pair, event.event_id)) as gate:
        eventually(lambda: read_value(scans_url, tickets), 4)
        issue = f"SELECT issue FROM tickets WHERE ticket_id = '{reissued.ticket_id}'"
        eventually(lambda: read_value(scans_url, issue), 2)
        reasons = [gate.scan(ticket.token).denial_reason for ticket in (admitted, cancelled, reissued)]
        assert reasons == [
            scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN,
            scan_pb2.DENIAL_REASON_REFUNDED,
            scan_pb2.DENIAL_REASON_SUPERSEDED,
        ]
        assert gate.scan(newer.token).verdict == gate.scan(late.token).verdict == scan_pb2.VERDICT_ADMITTED
    listed = organizer.ask(devices.ListDevices, device_service_pb2.ListDevicesRequest()).devices
    assert [device.device_id for device in listed if device.HasField("revoke_time")] == [stolen]


def enroll(organizer: ApiClient, devices: DeviceServiceStub) -> str:
    """Create and enroll a device; return its id."""
    created = organizer.ask(devices.CreateDevice, device_service_pb2.CreateDeviceRequest(name="Stolen"))
    request = device_service_pb2.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
    organizer.ask(devices.EnrollDevice, request)
    return created.device.device_id
