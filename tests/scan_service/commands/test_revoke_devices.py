"""Tests of the command that revokes devices after a restore."""

import asyncio
import uuid
from argparse import ArgumentTypeError

import pytest

from scan_service.commands.revoke_devices import read_device, revoke_devices
from tests.environment.refusals import refusal
from tests.scanning.gates import Device
from ticketing.scans.v1 import device_service_pb2 as pb


async def enrolled(service, orga) -> tuple[str, Device]:
    """Enroll a device; return its id and its stream."""
    created = await service.devices.CreateDevice(pb.CreateDeviceRequest(name="One"), metadata=orga)
    request = pb.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
    token = (await service.devices.EnrollDevice(request)).access_token
    return created.device.device_id, Device(service, (("authorization", f"Bearer {token}"),))


async def test_all_devices_are_revoked_and_their_streams_end(database, service, orga):
    event_id = database.event()
    devices = [(await enrolled(service, orga))[1] for _ in range(3)]
    for device in devices:
        await device.open(event_id)
    lines: list[str] = []
    assert await asyncio.to_thread(revoke_devices, database.url, ["all"], lines.append) == 0
    assert lines == ["3 devices revoked; their streams end within a second"]
    for device in devices:
        assert (await refusal(device.receive())).reason == "UNAUTHENTICATED"


async def test_named_devices_are_revoked_and_unknown_ones_are_listed(database, service, orga):
    event_id, unknown = database.event(), str(uuid.uuid4())
    (revoked_id, revoked), (_, kept) = await enrolled(service, orga), await enrolled(service, orga)
    await revoked.open(event_id)
    await kept.open(event_id)
    lines: list[str] = []
    assert (
        await asyncio.to_thread(
            revoke_devices, database.url, [read_device(revoked_id), read_device(unknown)], lines.append
        )
        == 1
    )
    assert lines == ["1 devices revoked; their streams end within a second", f"unknown: {unknown}"]
    assert (await refusal(revoked.receive())).reason == "UNAUTHENTICATED"
    assert (await kept.scan("nothing")).scan_id


def test_an_argument_that_is_no_id_is_named():
    with pytest.raises(ArgumentTypeError, match="'x' is neither the id of a device nor `all`"):
        read_device("x")


async def test_a_revocation_is_logged_for_a_later_restore(database, service, orga, caplog):
    device_id, _ = await enrolled(service, orga)
    await service.devices.RevokeDevice(pb.RevokeDeviceRequest(device_id=device_id), metadata=orga)
    [record] = [record for record in caplog.records if record.getMessage() == "a device was revoked"]
    assert record.device_id == device_id
