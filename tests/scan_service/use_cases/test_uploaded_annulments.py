"""Tests of annulments by upload: an upload annuls nothing that AnnulScan would refuse to annul."""

import uuid
from datetime import UTC, timedelta

import pytest

from tests.scanning.gates import Device
from tests.scanning.uploads import ADMITTED, BEGIN, DENIED, MINUTE, OUT, decided
from ticketing.scans.v1 import revocation_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_pb2

INVALID_ANNULMENT = scan_pb2.INCIDENT_KIND_INVALID_ANNULMENT


async def upload(device: Device, *scans) -> list[scan_pb2.Scan]:
    await device.send(upload=pb.Upload(scans=scans))
    uploaded = (await device.receive()).uploaded
    assert not uploaded.rejected
    return list(uploaded.results)


async def incidents(service, event_id) -> list[tuple[int, list[str]]]:
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    answer = await service.scans.ListIncidents(request, metadata=service.scanner, timeout=20)
    return [(one.kind, [scan.scan_id for scan in one.scans]) for one in answer.incidents]


async def refundable(service, ticket) -> bool:
    """Cancel a ticket; return whether the cancellation was before every check-in, so that it is refunded."""
    revocation = revocation_service_pb2.Revocation(
        revocation_id=str(uuid.uuid4()),
        ticket_id=str(ticket.ticket_id),
        status=ticket_pb2.TICKET_STATUS_REFUNDED,
        issue=1,
    )
    request = revocation_service_pb2.RevokeTicketsRequest(event_id=str(ticket.event_id), revocations=[revocation])
    answer = await service.revocations.RevokeTickets(request, metadata=service.peer, timeout=20)
    return answer.outcomes[0].revoked


@pytest.fixture
async def device(database, service):
    made = Device(service)
    await made.open(database.event(valid_until_time=BEGIN + timedelta(days=9)))
    return made


def annulment_of(scan: scan_pb2.Scan, token: str) -> pb.ScanAttempt:
    """Make the upload that annuls a recorded scan half a minute after it."""
    time = scan.scan_time.ToDatetime(tzinfo=UTC)
    attempt = decided(token, scan_id=scan.scan_id, kind=scan.scan_type)
    attempt.offline.scan_time.FromDatetime(time)
    attempt.offline.annul_time.FromDatetime(time + MINUTE / 2)
    return attempt


async def test_an_admission_annulled_late_by_upload_is_not_refunded(database, service, device):
    live, offline = database.ticket(device.event_id), database.ticket(device.event_id)
    scans = {
        live: await device.scan(live.token),
        offline: (await upload(device, decided(offline.token)))[0],
    }
    service.clock.advance(16 * MINUTE)
    for ticket, scan in scans.items():
        for _ in range(2):
            [kept] = await upload(device, annulment_of(scan, ticket.token))
            assert (kept.verdict, kept.HasField("annul_time")) == (ADMITTED, False)
        assert not await refundable(service, ticket)
    found = await incidents(service, device.event_id)
    assert sorted(found) == sorted((INVALID_ANNULMENT, [scan.scan_id]) for scan in scans.values())


async def test_a_live_scan_annulled_soon_by_upload_is_refundable(database, service, device):
    ticket = database.ticket(device.event_id)
    scan = await device.scan(ticket.token)
    service.clock.advance(14 * MINUTE)
    [annulled] = await upload(device, annulment_of(scan, ticket.token))
    # The admission counted until the upload arrived.
    assert annulled.annul_time.ToDatetime(tzinfo=UTC) >= scan.scan_time.ToDatetime(tzinfo=UTC) + 14 * MINUTE
    # A repetition changes nothing, however late it is.
    service.clock.advance(5 * MINUTE)
    assert await upload(device, annulment_of(scan, ticket.token)) == [annulled]
    assert await incidents(service, device.event_id) == []
    assert await refundable(service, ticket)


async def test_an_offline_scan_annulled_before_its_upload_is_refundable(database, service, device):
    ticket = database.ticket(device.event_id)
    [annulled] = await upload(device, decided(ticket.token, annulled=True))
    assert annulled.annul_time.ToDatetime(tzinfo=UTC) == BEGIN + MINUTE / 2
    assert await incidents(service, device.event_id) == []
    assert await refundable(service, ticket)


async def test_an_offline_annulment_after_fifteen_minutes_is_an_incident(database, service, device):
    ticket = database.ticket(device.event_id)
    attempt = decided(ticket.token)
    attempt.offline.annul_time.FromDatetime(BEGIN + 15.5 * MINUTE)
    [kept] = await upload(device, attempt)
    assert not kept.HasField("annul_time")
    assert await incidents(service, device.event_id) == [(INVALID_ANNULMENT, [kept.scan_id])]
    assert not await refundable(service, ticket)


async def test_an_annulment_of_an_earlier_scan_is_an_incident(database, service, device):
    """The order of the uploads makes no difference: the check-out may arrive after the annulment."""
    for order in (1, -1):
        ticket = database.ticket(device.event_id)
        entry, leaving = decided(ticket.token, 0), decided(ticket.token, 2, kind=OUT)
        entry.offline.annul_time.FromDatetime(BEGIN + 3 * MINUTE)
        for scan in (entry, leaving)[::order]:
            await upload(device, scan)
        assert (INVALID_ANNULMENT, [entry.scan_id]) in await incidents(service, device.event_id)
        assert not await refundable(service, ticket)


async def test_annulling_the_later_scan_allows_the_earlier_annulment(database, service, device):
    ticket = database.ticket(device.event_id)
    entry, leaving = decided(ticket.token, 0), decided(ticket.token, 2, kind=OUT)
    entry.offline.annul_time.FromDatetime(BEGIN + 3 * MINUTE)
    await upload(device, entry, leaving)
    request = pb.AnnulScanRequest(scan_id=leaving.scan_id)
    await service.scans.AnnulScan(request, metadata=service.issuer.metadata("service"), timeout=20)
    assert await incidents(service, device.event_id) == []
    assert await refundable(service, ticket)


async def test_the_organizer_annuls_what_an_upload_could_not(database, service, device, orga):
    ticket = database.ticket(device.event_id)
    attempt = decided(ticket.token)
    attempt.offline.annul_time.FromDatetime(BEGIN + 15.5 * MINUTE)
    [kept] = await upload(device, attempt)
    request = pb.AnnulScanRequest(scan_id=kept.scan_id)
    annulled = (await service.scans.AnnulScan(request, metadata=orga, timeout=20)).scan
    assert annulled.HasField("annul_time")
    # The repeated upload leaves the annulment of the organizer.
    assert await upload(device, attempt) == [annulled]
    assert await incidents(service, device.event_id) == []
    assert await refundable(service, ticket)


async def test_another_persons_upload_does_not_annul_a_scan(database, service, device, issuer):
    ticket = database.ticket(device.event_id)
    scan = await device.scan(ticket.token)
    other = Device(service, issuer.metadata("scanner", "other"))
    await other.open(device.event_id)
    [kept] = await upload(other, annulment_of(scan, ticket.token))
    assert not kept.HasField("annul_time")
    assert await incidents(service, device.event_id) == [(INVALID_ANNULMENT, [scan.scan_id])]
    assert not await refundable(service, ticket)


@pytest.mark.parametrize("earlier", [0, 5])
async def test_a_denial_uploaded_late_does_not_take_an_admission_back(database, service, device, earlier):
    """Such a denial has the effect of an annulment, whether the admission was live or uploaded before."""
    ticket = database.ticket(device.event_id)
    if earlier:
        [scan] = await upload(device, decided(ticket.token, earlier))
    else:
        scan = await device.scan(ticket.token)
    service.clock.advance(16 * MINUTE)
    [kept] = await upload(device, decided(ticket.token, scan_id=scan.scan_id, verdict=DENIED))
    assert kept.verdict == ADMITTED
    assert await incidents(service, device.event_id) == [(INVALID_ANNULMENT, [scan.scan_id])]
    assert not await refundable(service, ticket)


async def test_a_fast_device_clock_does_not_move_an_annulment_after_later_scans(database, service, device):
    ticket = database.ticket(device.event_id)
    attempt = decided(ticket.token)
    attempt.offline.scan_time.FromDatetime(service.clock() - MINUTE)
    attempt.offline.annul_time.FromDatetime(service.clock() + MINUTE)
    [annulled] = await upload(device, attempt)
    assert annulled.HasField("annul_time")
    assert (await device.scan(ticket.token)).verdict == ADMITTED
    await upload(device, decided(ticket.token, 0, verdict=DENIED), attempt)
    assert await incidents(service, device.event_id) == []
