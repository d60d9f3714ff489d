"""Each RPC and command that changes something at the gates is in the audit trail with its caller."""

import asyncio
import uuid
from typing import Any, Final

import pytest

from scan_service.commands.retire_keys import retire_named_keys
from scan_service.commands.revoke_devices import revoke_devices
from scan_service.policy import POLICY
from scan_service.store.tables import signing_keys
from scan_service.use_cases.scanners import Scanners
from tests.environment.databases import columns_with
from tests.environment.refusals import refusal
from tests.scanning.gates import NOW, Device, Service
from ticketing.chassis.database import Database
from ticketing.chassis.parsing import NIL
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1 import gate_change_pb2, gate_change_service_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.gate_change_service_pb2_grpc import GateChangeServiceStub

READING: Final = ("Get", "List", "Watch", "Validate")
# A scan, an enrollment and a revocation of tickets are records themselves; the ticket service records its own changes
# and erasures, and the look-ups of gates.
NOT_RECORDED: Final = frozenset(
    {"ScanTicket", "StreamScans", "EnrollDevice", "RevokeTickets", "RevokeEvent", "EraseScanner", "LookUpTickets"}
)
RECORDED: Final = frozenset({"CreateDevice", "RevokeDevice", "AnnulScan"})


def test_every_changing_rpc_is_tested_for_its_record() -> None:
    names = {method.rpartition("/")[2] for method in POLICY}
    assert {name for name in names if not name.startswith(READING)} - NOT_RECORDED == RECORDED


@pytest.fixture
def operator(issuer) -> Any:
    return issuer.metadata("operator", "opal")


async def listed(service: Service, metadata: Any, **asked: Any) -> list[gate_change_pb2.Change]:
    request = gate_change_service_pb2.ListChangesRequest(**asked)
    return list((await GateChangeServiceStub(service.channel).ListChanges(request, metadata=metadata)).changes)


def words(change: gate_change_pb2.Change) -> tuple[str, str, list[str]]:
    kind = gate_change_pb2.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_")
    return kind, change.caller, list(change.roles)


async def created(service: Service, orga: Any) -> devices_pb.CreateDeviceResponse:
    request = devices_pb.CreateDeviceRequest(name="Handheld", request_id=str(uuid.uuid4()))
    first = await service.devices.CreateDevice(request, metadata=orga)
    assert await service.devices.CreateDevice(request, metadata=orga) == first
    return first


async def revoked(service: Service, device_id: str, metadata: Any) -> devices_pb.Device:
    request = devices_pb.RevokeDeviceRequest(device_id=device_id)
    return (await service.devices.RevokeDevice(request, metadata=metadata)).device


async def test_a_device_is_created_and_revoked_once_in_the_record(service, orga, operator, issuer) -> None:
    device_id = (await created(service, orga)).device.device_id
    by = (*operator, ("x-request-id", "night-shift-1"))
    first = await revoked(service, device_id, by)
    assert (await revoked(service, device_id, orga)).revoke_time == first.revoke_time
    changes = await listed(service, operator, device_id=device_id)
    assert [words(one) for one in changes] == [
        ("DEVICE_REVOKED", "opal", ["operator"]),
        ("DEVICE_CREATED", "orga", ["organizer"]),
    ]
    assert (changes[0].request_id, changes[0].event_id, changes[0].create_time) == (
        "night-shift-1",
        "",
        first.revoke_time,
    )
    assert await listed(service, orga) == changes
    assert await listed(service, issuer.metadata("organizer", "olaf")) == []


async def test_an_annulment_by_an_operator_is_recorded_and_shows_no_code(database, service, orga, operator) -> None:
    ticket = database.ticket(database.event())
    scan = await service.scan(ticket.event_id, ticket.token)
    annulled = (await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=operator)).scan
    assert annulled.HasField("annul_time")
    assert scan.code == ticket.code
    assert annulled.code == f"{ticket.code[:10]}…"
    [change] = await listed(service, orga, ticket_id=str(ticket.ticket_id))
    assert words(change) == ("SCAN_ANNULLED", "opal", ["operator"])
    assert (change.scan_id, change.event_id, change.device_id) == (scan.scan_id, str(ticket.event_id), "")
    assert dict(change.details) == {"location": "North"}
    # Nothing changed: no record.
    await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=operator)
    assert await listed(service, operator) == [change]


async def test_a_device_that_annuls_its_own_scan_has_no_second_record(database, service, orga, operator) -> None:
    ticket = database.ticket(database.event())
    code = (await created(service, orga)).enrollment_code
    request = devices_pb.EnrollDeviceRequest(enrollment_code=code)
    token = (await service.devices.EnrollDevice(request)).access_token
    device = Device(service, (("authorization", f"Bearer {token}"),))
    await device.open(ticket.event_id)
    scan = await device.scan(ticket.token)
    await device.send(passage=pb.Passage(scan_id=scan.scan_id, passed=False))
    assert (await device.receive()).annulled.HasField("annul_time")
    assert await listed(service, operator, event_id=str(ticket.event_id)) == []


async def test_commands_are_recorded_as_the_command_line(database, service, orga, operator) -> None:
    kept, gone = [(await created(service, orga)).device.device_id for _ in range(2)]
    await revoked(service, gone, orga)
    database.insert(signing_keys, key_id=7, public_key=b"k" * 32, activate_time=NOW)
    await asyncio.to_thread(revoke_devices, database.url, ["all"], lambda _: None)
    await asyncio.to_thread(retire_named_keys, database.url, [7, 8], lambda _: None)
    retired, of_device = await listed(service, operator, caller="command line")
    assert words(retired) == ("KEY_RETIRED", "command line", [])
    assert dict(retired.details) == {"key_id": 7}
    assert words(of_device) == ("DEVICE_REVOKED", "command line", [])
    assert of_device.device_id == kept
    # A key concerns no organizer.
    assert retired.change_id not in {one.change_id for one in await listed(service, orga)}


async def test_pages_follow_each_other_with_the_same_filter(service, orga, operator) -> None:
    for _ in range(3):
        await created(service, orga)
    stub = GateChangeServiceStub(service.channel)
    first = await stub.ListChanges(
        gate_change_service_pb2.ListChangesRequest(page_size=2, caller="orga"), metadata=operator
    )
    follow = gate_change_service_pb2.ListChangesRequest(page_size=2, caller="orga", page_token=first.next_page_token)
    second = await stub.ListChanges(follow, metadata=operator)
    assert ([len(page.changes) for page in (first, second)], second.next_page_token) == ([2, 1], "")
    assert len({change.change_id for page in (first, second) for change in page.changes}) == 3
    follow.caller = ""
    assert (await refusal(stub.ListChanges(follow, metadata=operator))).fields == {"page_token"}


async def test_an_erased_caller_is_in_no_record_and_the_record_stays(database, service, issuer, operator) -> None:
    ticket = database.ticket(database.event())
    sam = issuer.metadata("scanner", "sam-4711")
    for _ in range(3):
        scan = await service.scan(ticket.event_id, ticket.token, metadata=sam)
        await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=sam)
    assert columns_with(database.url, "sam-4711") == {"scans.scanner_user_id", "changes.caller"}
    pool = Database(database.url, "erasing", 1)
    # Two records in one part: the last part of the scans is repeated until no record is left.
    scanners, calls = Scanners(pool, part=2), 0
    position: tuple[uuid.UUID, uuid.UUID] | None = (NIL, NIL)
    while position is not None:
        _, position = await scanners.erase("sam-4711", position)
        calls += 1
    await pool.close()
    assert calls >= 2
    assert columns_with(database.url, "sam-4711") == set()
    found = await listed(service, operator)
    assert [(*words(one), one.request_id) for one in found] == [("SCAN_ANNULLED", "", ["scanner"], "")] * 3
