"""A gate device against the real scan service, in a loop of its own so that tests are as synchronous as the device."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy.engine import URL

from scan_service.app import App
from tests.e2e.proxy import Proxy
from tests.environment.access import PEER_METADATA, Issuer
from tests.environment.clock import SettableClock
from tests.scanning.gates import Copy, settings_of
from tests.stand_ins.scans import ScanServiceStandIn, StandInServer
from ticketing.admission.scans import Gate, ScanType
from ticketing.chassis.channel import CHANNEL_OPTIONS
from ticketing.chassis.clock import system_clock
from ticketing.gate import copy as gate_copy
from ticketing.gate.connection import Connection
from ticketing.gate.device import Device
from ticketing.gate.link import Link, Metadata
from ticketing.gate.messages import gate_message
from ticketing.gate.store import Store
from ticketing.scans.v1 import revocation_service_pb2 as revocations_pb
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import ticket_pb2


@pytest.fixture
def copy(scans_url: URL) -> Iterator[Copy]:
    made = Copy(scans_url)
    yield made
    made.engine.dispose()


@pytest.fixture
def venue_clock() -> SettableClock:
    """The right time."""
    return SettableClock()


@pytest.fixture
def scan_service(copy: Copy, tmp_path: Path, issuer: Issuer, venue_clock: SettableClock) -> Iterator[str]:
    """Run the scan service; gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = App(settings_of(tmp_path, issuer), copy.url, venue_clock)
    port = asyncio.run_coroutine_threadsafe(app.start(), loop).result(20)
    yield f"127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(app.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Wifi:
    """The venue's network, which can be pulled and plugged in again."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._target = (host, int(port))
        self._proxy = Proxy(self._target)
        self.address = self._proxy.address

    def pull(self) -> None:
        self._proxy.cut()

    def plug_in(self) -> None:
        self._proxy = Proxy(self._target, int(self.address.split(":")[1]))


class Office:
    """What the organizer sees, and what the ticket service does."""

    def __init__(self, channel: grpc.Channel, metadata) -> None:
        self._scans, self._revocations = ScanServiceStub(channel), RevocationServiceStub(channel)
        self._metadata = metadata

    def incidents(self, event_id: uuid.UUID) -> list[tuple[int, str, int]]:
        asked = pb.ListIncidentsRequest(event_id=str(event_id))
        answer = self._scans.ListIncidents(asked, metadata=self._metadata, timeout=10)
        return sorted((one.kind, one.ticket_id, len(one.scans)) for one in answer.incidents)

    def scans(self, event_id: uuid.UUID) -> list[scan_pb2.Scan]:
        asked = pb.ListScansRequest(event_id=str(event_id), page_size=1_000)
        return list(self._scans.ListScans(asked, metadata=self._metadata, timeout=10).scans)

    def refund(self, shown) -> None:
        revocation = revocations_pb.Revocation(
            revocation_id=str(uuid.uuid4()),
            ticket_id=str(shown.ticket_id),
            status=ticket_pb2.TICKET_STATUS_REFUNDED,
            issue=1,
        )
        asked = revocations_pb.RevokeTicketsRequest(event_id=str(shown.event_id), revocations=[revocation])
        self._revocations.RevokeTickets(asked, metadata=PEER_METADATA, timeout=10)


@pytest.fixture
def wifi(scan_service: str) -> Iterator[Wifi]:
    made = Wifi(scan_service)
    yield made
    made.pull()


@pytest.fixture
def office(scan_service: str, issuer) -> Iterator[Office]:
    with grpc.insecure_channel(scan_service) as channel:
        # Also after a night.
        yield Office(channel, issuer.metadata("organizer", "orga", exp=datetime.now(UTC) + timedelta(hours=9)))


class Handheld:
    """A device with everything that belongs to it."""

    def __init__(self, stack: ExitStack, address: str, metadata: Metadata, gate: Gate, path: Path, **options) -> None:
        clock = options.get("clock", system_clock)
        self.gate = gate
        self.store = Store(path)
        self._stack = stack.enter_context(ExitStack())
        self._stack.callback(self.store.close)
        channel = self._stack.enter_context(grpc.insecure_channel(address, options=CHANNEL_OPTIONS))
        self.stub = ScanServiceStub(channel)
        self.link = Link(self.stub, metadata, gate_message(gate))
        self.connection = Connection(self.link, self.store, clock, options.get("answer_seconds", 1.5))
        self.copy = gate_copy.Copy(self.link, gate.event_id, self.store, clock)
        kind = options.get("scan_type", ScanType.CHECK_IN)
        self.device = Device(gate, kind, self.store, self.connection, clock)
        self.shown: list[Any] = []

    def connect(self) -> "Handheld":
        self.connection.start()
        self._stack.callback(self.connection.stop)
        self.connection.settle(10)
        return self

    def follow(self) -> "Handheld":
        self.copy.start()
        self._stack.callback(self.copy.stop)
        return self

    @property
    def state(self) -> str:
        return self.connection.status.state

    def scan(self, text: str):
        return self.device.scan(text, self.shown.append)

    def close(self) -> None:
        """Switch it off; its file stays."""
        self._stack.close()


NewHandheld = Callable[..., Handheld]


@pytest.fixture
def new_handheld(tmp_path: Path, issuer: Issuer) -> Iterator[NewHandheld]:
    """Make devices; each has its file by its name."""
    with ExitStack() as stack:

        def make(address: str, event_id, name: str = "one", **options) -> Handheld:
            path = tmp_path / f"{name}.sqlite"
            metadata = options.pop("metadata", None) or issuer.metadata("scanner", name)
            return Handheld(stack, address, metadata, Gate(event_id, name), path, **options)

        yield make


@pytest.fixture
def server() -> Iterator[StandInServer]:
    """Run a scan service in memory, whose answers can be lost."""
    running = StandInServer(ScanServiceStandIn())  # type: ignore[abstract]  # other calls are UNIMPLEMENTED
    yield running
    running.stop()


@pytest.fixture
def stand_in(server: StandInServer) -> ScanServiceStandIn:
    return server.service


@pytest.fixture
def handheld(server: StandInServer, new_handheld: NewHandheld) -> Handheld:
    """Give a device of the stand-in, connected, that waits for answers but shortly."""
    return new_handheld(server.address, server.service.event_id, answer_seconds=0.3).connect()
