"""A device's life with the real service: created, enrolled, scanning, revoked."""

import grpc
import pytest

from tests.environment.waiting import eventually
from ticketing.gate.command import main
from ticketing.gate.device import REFUSED_NOTE
from ticketing.gate.store import Store
from ticketing.scans.v1 import device_service_pb2 as pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub


@pytest.fixture
def enroll(scan_service, issuer, tmp_path):
    """Create a device and enroll it from the command line; gives it, its credential, and how to revoke it."""
    with grpc.insecure_channel(scan_service) as channel:
        devices, organizer = DeviceServiceStub(channel), issuer.metadata("organizer", "orga")

        def make(*event_ids):
            request = pb.CreateDeviceRequest(name="Handheld 12", event_ids=[str(event_id) for event_id in event_ids])
            created = devices.CreateDevice(request, metadata=organizer, timeout=10)
            asked = ["enroll", "--server", scan_service, "--data", str(tmp_path / "device"), created.enrollment_code]
            assert main(asked) == 0
            # Good once.
            assert main(asked) == 1
            store = Store(tmp_path / "device" / "gate.sqlite")
            credential = (("authorization", f"Bearer {store.setting('token')}"),)
            store.close()

            def revoke() -> None:
                asked = pb.RevokeDeviceRequest(device_id=created.device.device_id)
                devices.RevokeDevice(asked, metadata=organizer, timeout=10)

            return created.device, credential, revoke

        yield make


def test_an_enrolled_device_scans_until_it_is_revoked(copy, scan_service, enroll, new_handheld, capsys):
    event_id = copy.event()
    first, second = copy.ticket(event_id), copy.ticket(event_id)
    device, credential, revoke = enroll(event_id)
    said = capsys.readouterr()
    assert said.out == 'enrolled as "Handheld 12"\n'
    assert said.err.startswith("ticketing-gate: not enrolled: the code was used before")
    handheld = new_handheld(scan_service, event_id, metadata=credential).connect().follow()
    eventually(lambda: handheld.store.ticket_count(event_id) == 2)
    assert handheld.scan(first.token).green
    assert [row["device_id"] for row in copy.rows("scans")] == [device.device_id]
    revoke()
    eventually(lambda: handheld.state == "REFUSED", seconds=2)
    answer = handheld.scan(second.token)
    assert (answer.green, answer.note) == (False, REFUSED_NOTE)
    assert handheld.store.queue_length() == 0


def test_a_device_bound_to_one_event_lets_nobody_in_at_another(copy, scan_service, enroll, new_handheld):
    bound, other = copy.event(), copy.event()
    ticket, elsewhere = copy.ticket(bound), copy.ticket(other)
    _, credential, _ = enroll(bound)
    away = new_handheld(scan_service, other, metadata=credential).connect()
    assert (away.state, away.connection.status.problem.split(":")[0]) == ("REFUSED", "PERMISSION_DENIED")
    assert not away.scan(elsewhere.token).green
    away.close()
    # At its own event it is as good as before, and knows that without asking.
    home = new_handheld(scan_service, bound, metadata=credential)
    assert not home.connection.refused()
    assert home.connect().scan(ticket.token).green
