"""Tests of gate devices: creation, enrollment, binding to events, revocation."""

import asyncio
import base64
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp

from scan_service.domain.devices import TOKEN_PREFIX, Credentials, token_digest
from scan_service.store import devices as store
from scan_service.store.clock import DatabaseClock
from scan_service.store.tables import devices
from scan_service.use_cases.devices import Devices
from tests.environment.access import CODE_SECRET
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.scanning.gates import Device, Service
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, overloaded
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2

ADMITTED = scan_pb2.VERDICT_ADMITTED


async def create(service: Service, orga, *event_ids, name="Handheld 12") -> devices_pb.CreateDeviceResponse:
    request = devices_pb.CreateDeviceRequest(name=name, event_ids=[str(event_id) for event_id in event_ids])
    return await service.devices.CreateDevice(request, metadata=orga)


async def enroll(service: Service, code: str) -> devices_pb.EnrollDeviceResponse:
    return await service.devices.EnrollDevice(devices_pb.EnrollDeviceRequest(enrollment_code=code))


async def enrolled(service: Service, orga, *event_ids):
    """Enroll a new device; return its id and the metadata of its calls."""
    response = await enroll(service, (await create(service, orga, *event_ids)).enrollment_code)
    return response.device.device_id, (("authorization", f"Bearer {response.access_token}"),)


async def revoke(service: Service, orga, device_id: str) -> devices_pb.Device:
    request = devices_pb.RevokeDeviceRequest(device_id=device_id)
    return (await service.devices.RevokeDevice(request, metadata=orga)).device


async def listed(service: Service, orga, **values) -> devices_pb.ListDevicesResponse:
    return await service.devices.ListDevices(devices_pb.ListDevicesRequest(**values), metadata=orga)


async def test_a_device_enrolls_by_its_code_and_scans(database, service, orga):
    ticket = database.ticket(database.event())
    created = await create(service, orga, ticket.event_id)
    assert (created.device.name, created.device.organizer_id) == ("Handheld 12", "orga")
    assert list(created.device.event_ids) == [str(ticket.event_id)]
    assert not created.device.HasField("enroll_time")
    # A person types the code in this form.
    response = await enroll(service, f" {created.enrollment_code.lower().replace('-', ' ')}\n")
    assert response.device.HasField("enroll_time")
    metadata = (("authorization", f"Bearer {response.access_token}"),)
    scan = await service.scan(ticket.event_id, ticket.token, metadata=metadata)
    assert (scan.verdict, scan.device_id, scan.scanner_user_id) == (ADMITTED, created.device.device_id, "")


async def test_an_operator_lists_and_revokes_the_devices_of_all_organizers(database, service, orga, issuer):
    ticket = database.ticket(database.event())
    at_gate, metadata = await enrolled(service, orga)
    await service.scan(ticket.event_id, ticket.token, metadata=metadata)
    device = Device(service, metadata)
    await device.open(ticket.event_id)
    other = (await create(service, issuer.metadata("organizer", "olaf"))).device.device_id
    operator = issuer.metadata("operator", "opal")

    async def ids(**values) -> list[str]:
        return [one.device_id for one in (await listed(service, operator, **values)).devices]

    assert await ids() == [at_gate, other]
    assert await ids(organizer_id="olaf") == [other]
    await until(lambda: ids(event_id=str(ticket.event_id)), [at_gate])
    first = await listed(service, operator, page_size=1)
    assert await ids(page_size=1, page_token=first.next_page_token) == [other]
    # The page belongs to another filter.
    second = listed(service, operator, page_token=first.next_page_token, organizer_id="olaf")
    assert (await refusal(second)).fields == {"page_token"}
    # An organizer sees the own devices alone, whatever the filter says.
    assert list((await listed(service, orga, organizer_id="olaf")).devices) == []
    assert (await revoke(service, operator, at_gate)).HasField("revoke_time")
    assert (await refusal(device.receive())).reason == "UNAUTHENTICATED"


async def test_neither_code_nor_token_is_stored(database, service, orga):
    created = await create(service, orga)
    token = (await enroll(service, created.enrollment_code)).access_token
    [row] = database.rows("devices")
    for secret in (created.enrollment_code, created.enrollment_code.replace("-", ""), token, token[7:]):
        assert secret not in str(row)
        assert secret.encode() not in bytes(row["code_digest"]) + bytes(row["token_digest"])


async def test_an_enrollment_code_is_valid_once_and_for_an_hour(database, service, orga):
    used, revoked, old = [await create(service, orga) for _ in range(3)]
    outcomes = await asyncio.gather(*(enroll(service, used.enrollment_code) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, devices_pb.EnrollDeviceResponse) for outcome in outcomes) == 1
    await revoke(service, orga, revoked.device.device_id)
    service.clock.advance(timedelta(minutes=60, seconds=1))
    for code in (used.enrollment_code, revoked.enrollment_code, old.enrollment_code, "never one"):
        assert (await refusal(enroll(service, code))).reason == "ENROLLMENT_CODE_INVALID"


async def test_a_bound_device_has_no_access_to_other_events(database, service, orga):
    own, other = database.event(), database.event()
    _, metadata = await enrolled(service, orga, own)
    scans = service.scans
    calls = [
        service.scan(other, "x", metadata=metadata),
        scans.ValidateTicket(pb.ValidateTicketRequest(gate=scan_pb2.Gate(event_id=str(other))), metadata=metadata),
        scans.GetAttendance(pb.GetAttendanceRequest(event_id=str(other)), metadata=metadata),
        scans.WatchAttendance(pb.WatchAttendanceRequest(event_id=str(other)), metadata=metadata).read(),
        scans.WatchAdmissions(pb.WatchAdmissionsRequest(event_id=str(other)), metadata=metadata).read(),
    ]
    for call in calls:
        assert (await refusal(call)).cause == ("FORBIDDEN", {"event_id": str(other)})
    device = Device(service, metadata)
    await device.open(own)
    attempt = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code="x", offline=pb.OfflineDecision(verdict=ADMITTED))
    attempt.offline.gate.event_id = str(other)
    attempt.offline.scan_time.CopyFrom(Timestamp(seconds=1))
    await device.send(upload=pb.Upload(scans=[attempt]))
    [rejected] = (await device.receive()).uploaded.rejected
    assert rejected.reason == error_reason_pb2.ERROR_REASON_FORBIDDEN
    await device.send(open=scan_pb2.Gate(event_id=str(other)))
    assert (await refusal(device.receive())).reason == "FORBIDDEN"
    ticket = database.ticket(other)
    scan = await service.scan(other, ticket.token)
    annulment = scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=metadata)
    assert (await refusal(annulment)).reason == "SCAN_NOT_FOUND"
    refused = await refusal(scans.ValidateTicket(pb.ValidateTicketRequest(code="x"), metadata=metadata))
    assert refused.fields == {"gate.event_id"}
    assert (
        await scans.ValidateTicket(pb.ValidateTicketRequest(gate=scan_pb2.Gate(event_id=str(own))), metadata=metadata)
    ).scan


async def test_an_unbound_device_scans_at_its_organizers_events_only(database, service, orga):
    _, metadata = await enrolled(service, orga)
    own = database.ticket(database.event())
    assert (await service.scan(own.event_id, own.token, metadata=metadata)).verdict == ADMITTED
    assert (await service.scans.ValidateTicket(pb.ValidateTicketRequest(code="x"), metadata=metadata)).scan
    foreign = database.event(organizer_id="other")
    assert (await refusal(service.scan(foreign, "x", metadata=metadata))).reason == "EVENT_NOT_FOUND"
    listing = service.scans.ListScans(pb.ListScansRequest(event_id=str(own.event_id)), metadata=metadata)
    assert (await refusal(listing)).reason == "FORBIDDEN"


async def test_a_device_annuls_only_its_own_scans(database, service, orga):
    (_, first), (_, second) = [await enrolled(service, orga) for _ in range(2)]
    ticket = database.ticket(database.event())
    scan = await service.scan(ticket.event_id, ticket.token, metadata=first)
    request = pb.AnnulScanRequest(scan_id=scan.scan_id)
    assert (await refusal(service.scans.AnnulScan(request, metadata=second))).reason == "SCAN_NOT_ANNULLABLE"
    assert (await service.scans.AnnulScan(request, metadata=first)).scan.HasField("annul_time")


async def test_another_device_cannot_reuse_a_scan_id(database, service, orga):
    (_, first), (_, second) = [await enrolled(service, orga) for _ in range(2)]
    event_id = database.event()
    scan = await service.scan(event_id, "x", metadata=first)
    assert await service.scan(event_id, "x", metadata=first, scan_id=scan.scan_id) == scan
    again = service.scan(event_id, "x", metadata=second, scan_id=scan.scan_id)
    assert (await refusal(again)).reason == "SCAN_ID_REUSED"


async def test_a_revoked_device_loses_access(database, service, orga):
    event_id = database.event()
    device_id, metadata = await enrolled(service, orga)
    device = Device(service, metadata)
    await device.open(event_id)
    watch = service.scans.WatchAdmissions(pb.WatchAdmissionsRequest(event_id=str(event_id)), metadata=metadata)
    await watch.read()
    (_, others), person = await enrolled(service, orga), Device(service)
    other = Device(service, others)
    for bystander in (other, person):
        await bystander.open(event_id)
    first = await revoke(service, orga, device_id)
    assert first.HasField("revoke_time")
    assert (await refusal(device.receive())).reason == "UNAUTHENTICATED"
    async with asyncio.timeout(20):
        assert (await refusal(watch.read())).reason == "UNAUTHENTICATED"
    service.clock.advance(timedelta(seconds=1))
    assert (await refusal(service.scan(event_id, "x", metadata=metadata))).reason == "UNAUTHENTICATED"
    assert (await revoke(service, orga, device_id)).revoke_time == first.revoke_time
    for bystander in (other, person):
        assert (await bystander.scan("x")).verdict == scan_pb2.VERDICT_DENIED


async def test_an_unknown_device_token_is_refused(database, service):
    metadata = (("authorization", "Bearer device_x"),)
    for _ in range(2):
        assert (await refusal(service.scan(database.event(), "x", metadata=metadata))).cause == (
            "UNAUTHENTICATED",
            {"cause": "the device is not known"},
        )


@pytest.fixture
async def known(database) -> AsyncIterator[Devices]:
    """Yield the use case that verifies device tokens."""
    pool = Database(database.url, "test", threads=1)
    yield Devices(pool, pool, Credentials(CODE_SECRET), system_clock, DatabaseClock())
    await pool.close()


def no_more() -> AbstractContextManager[None]:
    raise overloaded("invalid credentials of one address")


async def test_only_tokens_that_may_be_invented_wait_for_their_address(database, service, orga, known):
    device_id, metadata = await enrolled(service, orga)
    token = metadata[0][1].removeprefix("Bearer ")
    assert (await known.caller(token, no_more)).subject == device_id
    invented = TOKEN_PREFIX + "x" * (len(token) - len(TOKEN_PREFIX))
    for other in (invented, f"{token[:-3]}AAA", TOKEN_PREFIX, f"{token}A", TOKEN_PREFIX + "é"):
        with pytest.raises(Failure) as caught:
            await known.caller(other, no_more)
        assert caught.value.reason == "OVERLOADED"


async def test_a_token_of_an_earlier_version_is_valid(database, service, orga, known):
    device_id, _ = await enrolled(service, orga)
    earlier = TOKEN_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    with database.engine.begin() as connection:
        connection.execute(sa.update(devices).values(token_digest=token_digest(earlier)))
    assert (await known.caller(earlier)).subject == device_id
    # Once it is known, it waits for nobody.
    assert (await known.caller(earlier, no_more)).subject == device_id


async def test_a_refused_device_is_not_looked_up_again_at_once(service, orga, known, monkeypatch):
    device_id, metadata = await enrolled(service, orga)
    await revoke(service, orga, device_id)
    looked_up = []
    read = store.read_by_tokens

    def count(*args):
        looked_up.append(args)
        return read(*args)

    monkeypatch.setattr(store, "read_by_tokens", count)
    for token in (metadata[0][1].removeprefix("Bearer "), f"{TOKEN_PREFIX}invented"):
        for _ in range(3):
            with pytest.raises(Failure, match=r"revoked|not known"):
                await known.caller(token)
    assert len(looked_up) == 2


async def test_an_organizer_lists_and_revokes_only_own_devices(database, service, orga, issuer):
    made = [(await create(service, orga, name=f"Device {number}")).device for number in range(5)]
    stranger = issuer.metadata("organizer", "other")
    assert not (await listed(service, stranger)).devices
    assert (await refusal(revoke(service, stranger, made[0].device_id))).reason == "DEVICE_NOT_FOUND"
    assert (await refusal(revoke(service, orga, str(uuid.uuid4())))).reason == "DEVICE_NOT_FOUND"
    pages, token = [], ""
    while True:
        page = await listed(service, orga, page_size=2, page_token=token)
        pages.append(list(page.devices))
        token = page.next_page_token
        if not token:
            break
    assert pages == [made[:2], made[2:4], made[4:]]
    foreign_token = (await listed(service, orga, page_size=2)).next_page_token
    for bad in ("x", foreign_token):
        assert (await refusal(listed(service, stranger, page_token=bad))).reason == "INVALID_ARGUMENT"


async def test_the_list_shows_connected_devices_and_their_gates(database, service, orga):
    event_id = database.event()
    device_id, metadata = await enrolled(service, orga)
    device = Device(service, metadata)
    await device.send(
        open=scan_pb2.Gate(event_id=str(event_id), location="South", allowed_ticket_types=[event_pb2.TICKET_TYPE_VIP])
    )
    await device.receive()

    async def shown_gate() -> tuple[str, bool, str]:
        [shown] = (await listed(service, orga)).devices
        return shown.device_id, shown.connected, shown.gate.location

    # The gate is recorded soon after the device has opened it.
    await until(shown_gate, wanted=(device_id, True, "South"))
    [shown] = (await listed(service, orga)).devices
    assert list(shown.gate.allowed_ticket_types) == [2]

    async def is_connected() -> bool:
        return (await listed(service, orga)).devices[0].connected

    # The presence is recorded again while the stream is open.
    service.clock.advance(timedelta(seconds=30))
    await until(is_connected)
    await device.call.done_writing()
    await until(is_connected, wanted=False)


async def test_every_invalid_field_is_named(database, service, orga):
    foreign = database.event(organizer_id="other")
    assert (await refusal(create(service, orga, foreign))).cause == ("EVENT_NOT_FOUND", {"event_id": str(foreign)})
    for call, fields in (
        (create(service, orga, "x", "y", name=""), {"name", "event_ids[0]", "event_ids[1]"}),
        (create(service, orga, *[foreign] * 101), {"event_ids"}),
        (enroll(service, ""), {"enrollment_code"}),
        (revoke(service, orga, "x"), {"device_id"}),
    ):
        assert (await refusal(call)).fields == fields
