"""Tests of two processes whose hosts' clocks differ by minutes: the clock of the database counts."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import grpc.aio
import pytest

from scan_service.app import App
from tests.environment.clock import SettableClock
from tests.environment.refusals import refusal
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.scanning.gates import Device, Service, settings_of
from tests.scanning.uploads import ACCESS, ADMITTED, IN, OUT, decided
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1 import revocation_service_pb2 as revocations_pb
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb
from ticketing.tickets.v1 import ticket_pb2

SKEW = timedelta(minutes=5)


@pytest.fixture
async def hosts(database, settings, issuer) -> AsyncIterator[tuple[Service, Service]]:
    """Run a service whose host's clock is five minutes fast, and one whose host's clock is five minutes slow."""
    async with AsyncExitStack() as stack:
        made = []
        for skew in (SKEW, -SKEW):
            clock = SettableClock()
            clock.advance(skew)
            app = App(settings, database.url, clock)
            address = await stack.enter_async_context(running(app))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            made.append(Service(app, channel, issuer, clock))
        yield made[0], made[1]


@pytest.mark.parametrize("first", [0, 1])
async def test_scan_times_have_the_order_of_the_scans(database, hosts, first):
    ticket = database.ticket(database.event(admission_policy="RE_ENTRY"))
    scans = [
        await hosts[(first + number) % 2].scan(ticket.event_id, ticket.token, scan_type=kind)
        for number, kind in enumerate((IN, OUT, IN, OUT))
    ]
    assert [scan.verdict for scan in scans] == [ADMITTED] * 4
    times = [scan.scan_time.ToDatetime(tzinfo=UTC) for scan in scans]
    assert times == sorted(set(times))
    assert abs(datetime.now(UTC) - times[-1]) < SKEW
    # An upload computes the admission state again: the person stays outside.
    device = Device(hosts[first])
    await device.open(ticket.event_id)
    await device.send(upload=pb.Upload(scans=[decided(ticket.token, kind=ACCESS)]))
    assert (await device.receive()).uploaded.results
    assert [row["inside"] for row in database.rows("tickets")] == [False]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_scan_of_one_host_is_annulled_at_the_other(database, hosts, first):
    """By the clocks of the hosts, the scan would be ten minutes older or younger."""
    ticket = database.ticket(database.event())
    scan = await hosts[first].scan(ticket.event_id, ticket.token)
    other = hosts[1 - first]
    annulled = await other.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=other.scanner)
    elapsed = annulled.scan.annul_time.ToDatetime(tzinfo=UTC) - scan.scan_time.ToDatetime(tzinfo=UTC)
    assert timedelta() < elapsed < SKEW


@pytest.mark.parametrize("first", [0, 1])
async def test_a_device_revoked_at_one_host_loses_its_streams_at_the_other(database, hosts, orga, first):
    revoking, serving = hosts[first], hosts[1 - first]
    event_id = database.event()
    created = await revoking.devices.CreateDevice(devices_pb.CreateDeviceRequest(name="One"), metadata=orga)
    enrolled = await serving.devices.EnrollDevice(
        devices_pb.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
    )
    metadata = (("authorization", f"Bearer {enrolled.access_token}"),)
    device = Device(serving, metadata)
    await device.open(event_id)
    watch = serving.scans.WatchAdmissions(pb.WatchAdmissionsRequest(event_id=str(event_id)), metadata=metadata)
    await watch.read()
    request = devices_pb.RevokeDeviceRequest(device_id=created.device.device_id)
    await revoking.devices.RevokeDevice(request, metadata=orga)
    async with asyncio.timeout(20):
        assert (await refusal(device.receive())).reason == "UNAUTHENTICATED"
        assert (await refusal(watch.read())).reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("first", [0, 1])
async def test_a_connected_device_is_listed_as_connected_at_the_other_host(database, hosts, orga, first):
    created = await hosts[first].devices.CreateDevice(devices_pb.CreateDeviceRequest(name="One"), metadata=orga)
    enrolled = await hosts[first].devices.EnrollDevice(
        devices_pb.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
    )
    device = Device(hosts[first], (("authorization", f"Bearer {enrolled.access_token}"),))
    await device.open(database.event())

    async def connected(host: Service) -> bool:
        [listed] = (await host.devices.ListDevices(devices_pb.ListDevicesRequest(), metadata=orga)).devices
        return listed.connected

    await until(lambda: connected(hosts[first]))
    assert [await connected(host) for host in hosts] == [True, True]
    await device.call.done_writing()
    assert await device.receive() is grpc.aio.EOF


async def test_a_gate_receives_the_time_of_the_database(database, hosts):
    event_id = database.event()
    for host in hosts:
        opened = await Device(host).open(event_id)
        assert abs(opened.server_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)) < SKEW


async def test_incidents_have_the_time_of_the_database(database, issuer, tmp_path, tickets):
    """A guessed code and a check-in that the ticket service does not accept, at a host whose clock is fast."""
    stand_in, address = tickets
    event_id = database.event()
    sold = database.unknown(event_id)
    stand_in.conflicts = [feed_pb.CheckInConflict(event_id=str(event_id), ticket_id=str(sold.ticket_id))]
    clock = SettableClock()
    clock.advance(SKEW)
    settings = settings_of(tmp_path, issuer, SCANS_TICKETS_ADDRESS=address, SCANS_MAX_FAILED_CODES="1")
    async with running(App(settings, database.url, clock)) as served, grpc.aio.insecure_channel(served) as channel:
        service = Service(App(settings, database.url, clock), channel, issuer, clock)
        await service.scan(event_id, sold.token)
        await service.scan(event_id, "TKT-0123456789ABCDEF")
        incidents = await until(lambda: database.rows("incidents") if len(database.rows("incidents")) == 2 else [])
    assert {row["kind"] for row in incidents} == {"CODE_GUESSING", "UNKNOWN_ADMISSION"}
    assert all(abs(datetime.now(UTC) - row["create_time"]) < SKEW / 2 for row in incidents)


async def test_revocations_have_the_time_of_the_database(database, hosts):
    shown = database.ticket(database.event())
    for host in hosts:
        revocation = revocations_pb.Revocation(
            revocation_id=str(uuid.uuid4()),
            ticket_id=str(shown.ticket_id),
            status=ticket_pb2.TICKET_STATUS_REFUNDED,
            issue=1,
        )
        request = revocations_pb.RevokeTicketsRequest(event_id=str(shown.event_id), revocations=[revocation])
        await host.revocations.RevokeTickets(request, metadata=host.peer)
    assert all(abs(datetime.now(UTC) - row["create_time"]) < SKEW / 2 for row in database.rows("revocations"))
