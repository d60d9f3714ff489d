"""A device is created, enrolled and revoked at the real service."""

from typing import cast

import grpc
import pytest

from tests.environment.waiting import eventually
from ticketing.gate.command import main
from ticketing.gate.connection_status import REFUSED_NOTE
from ticketing.gate.enrollment import enroll_device
from ticketing.gate.store import Store
from ticketing.scans.v1 import device_service_pb2 as pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub


@pytest.fixture
def enroll(scan_service, issuer, tmp_path):
    """Yield a function that creates and enrolls a device; it returns the device, its credential and its revocation."""
    with grpc.insecure_channel(scan_service) as channel:
        devices, organizer = DeviceServiceStub(channel), issuer.metadata("organizer", "orga")

        def make(*event_ids):
            request = pb.CreateDeviceRequest(name="Handheld 12", event_ids=[str(event_id) for event_id in event_ids])
            created = devices.CreateDevice(request, metadata=organizer, timeout=10)
            command = ["enroll", "--server", scan_service, "--data", str(tmp_path / "device"), created.enrollment_code]
            assert main(command) == 0
            # A code enrolls once.
            assert main(command) == 1
            store = Store(tmp_path / "device" / "gate.sqlite")
            credential = (("authorization", f"Bearer {store.setting('token')}"),)
            store.close()

            def revoke() -> None:
                request = pb.RevokeDeviceRequest(device_id=created.device.device_id)
                devices.RevokeDevice(request, metadata=organizer, timeout=10)

            return created.device, credential, revoke

        yield make


def test_enrolled_device_scans_until_it_is_revoked(database, scan_service, enroll, new_handheld, capsys):
    event_id = database.event()
    first, second = database.ticket(event_id), database.ticket(event_id)
    device, credential, revoke = enroll(event_id)
    output = capsys.readouterr()
    assert output.out == 'enrolled as "Handheld 12"\n'
    assert output.err.startswith("ticketing-gate: not enrolled: the code was used before")
    handheld = new_handheld(scan_service, event_id, metadata=credential).connect().follow()
    eventually(lambda: handheld.store.ticket_count(event_id) == 2)
    assert handheld.scan(first.token).may_pass
    assert [row["device_id"] for row in database.rows("scans")] == [device.device_id]
    revoke()
    eventually(lambda: handheld.state == "REFUSED", seconds=2)
    answer = handheld.scan(second.token)
    assert (answer.may_pass, answer.note) == (False, REFUSED_NOTE)
    assert handheld.store.queue_length() == 0


class Restarting:
    """A service that stops while it enrolls a device, and answers the next call."""

    def __init__(self) -> None:
        self.requests: list[pb.EnrollDeviceRequest] = []

    def EnrollDevice(self, request, timeout):  # noqa: N802 - the name in the contract
        self.requests.append(request)
        if len(self.requests) == 1:
            raise grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata())
        return pb.EnrollDeviceResponse(access_token="token-1", device=pb.Device(name="Handheld 12"))


def test_enrollment_at_a_service_that_stops_is_repeated(tmp_path):
    store, service = Store(tmp_path / "gate.sqlite"), Restarting()
    assert enroll_device(store, cast(DeviceServiceStub, service), "code") == "Handheld 12"
    assert store.setting("token") == "token-1"
    assert len(service.requests) == 2
    assert service.requests[0] == service.requests[1]
    store.close()


def test_device_bound_to_one_event_admits_nobody_at_another(database, scan_service, enroll, new_handheld):
    bound, other = database.event(), database.event()
    ticket, elsewhere = database.ticket(bound), database.ticket(other)
    _, credential, _ = enroll(bound)
    away = new_handheld(scan_service, other, metadata=credential).connect()
    assert (away.state, away.connection.status.problem.split(":")[0]) == ("REFUSED", "PERMISSION_DENIED")
    assert not away.scan(elsewhere.token).may_pass
    away.close()
    # The refusal concerns the other event alone, so the device stores nothing.
    home = new_handheld(scan_service, bound, metadata=credential)
    assert not home.connection.is_refused()
    assert home.connect().scan(ticket.token).may_pass
