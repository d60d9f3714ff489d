"""Erasures of persons who scanned: no column names them, and every decision stays."""

import uuid

import pytest

from scan_service.use_cases.scanners import Scanners
from tests.environment.access import PEER_METADATA
from tests.environment.databases import columns_with
from tests.environment.refusals import refusal
from tests.scanning.gates import Device
from tests.scanning.uploads import ADMITTED, DENIED, decided
from ticketing.chassis.database import Database
from ticketing.chassis.parsing import NIL
from ticketing.scans.v1 import scan_pb2, scanner_service_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scanner_service_pb2_grpc import ScannerServiceStub

SAM = "sam-4711"


@pytest.fixture
async def device(database, service, issuer):
    """Open a stream of a person without a gate device."""
    made = Device(service, issuer.metadata("scanner", SAM))
    await made.open(database.event())
    return made


async def erase(service, **cursor) -> scanner_service_pb2.EraseScannerResponse:
    request = scanner_service_pb2.EraseScannerRequest(user_id=SAM, **cursor)
    return await ScannerServiceStub(service.channel).EraseScanner(request, metadata=PEER_METADATA)


async def test_an_erased_scanner_is_in_no_column(database, service, device):
    ticket = database.ticket(device.event_id)
    await device.scan(ticket.token)
    await device.scan(ticket.token)
    assert columns_with(database.url, SAM) == {"scans.scanner_user_id"}
    assert await erase(service) == scanner_service_pb2.EraseScannerResponse(erased=2)
    assert columns_with(database.url, SAM) == set()
    assert await erase(service) == scanner_service_pb2.EraseScannerResponse()


async def test_scans_are_decided_and_repeated_as_before_the_erasure(database, service, device):
    first, second = database.ticket(device.event_id), database.ticket(device.event_id)
    scan_id = str(uuid.uuid4())
    admitted = await device.scan(first.token, scan_id=scan_id)
    await erase(service)
    again = await device.scan(first.token, scan_id=scan_id)
    assert (again.verdict, again.scan_time, again.scanner_user_id) == (ADMITTED, admitted.scan_time, "")
    other = await device.scan(first.token)
    assert (other.verdict, other.denial_reason) == (DENIED, scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN)
    assert (await device.scan(second.token)).verdict == ADMITTED


async def test_a_repeated_upload_after_the_erasure_is_the_same_scan(database, service, device):
    scan = decided(database.ticket(device.event_id).token)

    async def upload() -> scan_pb2.Scan:
        await device.send(upload=pb.Upload(scans=[scan]))
        result: scan_pb2.Scan
        [result] = (await device.receive()).uploaded.results
        return result

    first = await upload()
    await erase(service)
    again = await upload()
    assert (again.scan_id, again.verdict, again.scan_time) == (first.scan_id, ADMITTED, first.scan_time)


async def test_scans_are_erased_in_bounded_parts(database, service, device):
    for _ in range(5):
        await device.scan(database.ticket(device.event_id).token)
    own = Database(database.url, "test", threads=1)
    parts = list[int]()
    after: tuple[uuid.UUID, uuid.UUID] | None = (NIL, NIL)
    while after is not None:
        erased, after = await Scanners(own, part=2).erase(SAM, after)
        parts.append(erased)
    await own.close()
    assert parts == [2, 2, 1]
    assert columns_with(database.url, SAM) == set()


async def test_other_roles_may_not_erase_a_scanner(service):
    request = scanner_service_pb2.EraseScannerRequest(user_id=SAM)
    call = ScannerServiceStub(service.channel).EraseScanner(request, metadata=service.scanner)
    assert (await refusal(call)).reason == "FORBIDDEN"
