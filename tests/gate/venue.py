"""Handhelds at a venue, the network between them and the scan service, and the organizer's office."""

import socket
import uuid
import weakref
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from tests.environment.access import PEER_METADATA
from tests.environment.clock import SettableClock
from tests.environment.proxy import Proxy
from ticketing.admission.scans import Gate, ScanType
from ticketing.chassis.clock import system_clock
from ticketing.gate.client import GATE_CHANNEL_OPTIONS, ScanServiceClient
from ticketing.gate.connection import Connection
from ticketing.gate.credential import Credential, Metadata
from ticketing.gate.device import Device
from ticketing.gate.device_clock import Boot, DeviceClock
from ticketing.gate.messages import gate_message
from ticketing.gate.replica import DeviceReplica
from ticketing.gate.store import Store
from ticketing.scans.v1 import revocation_service_pb2 as revocations_pb
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import ticket_pb2

START = datetime(2020, 1, 1, tzinfo=UTC)


class Wifi:
    """The network of a venue, which a test unplugs and plugs in."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._target = (host, int(port))
        # A socket that never listens keeps the port while the network is unplugged: other programs get it otherwise.
        reserved = socket.socket()
        weakref.finalize(self, reserved.close)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        self._port = int(reserved.getsockname()[1])
        self._proxy = Proxy(self._target, self._port)
        self.address = self._proxy.address

    def pull(self) -> None:
        self._proxy.cut()

    def plug_in(self) -> None:
        self._proxy = Proxy(self._target, self._port)


class Office:
    """The calls of the organizer and of the ticket service."""

    def __init__(self, channel: grpc.Channel, metadata) -> None:
        self._scans, self._revocations = ScanServiceStub(channel), RevocationServiceStub(channel)
        self._metadata = metadata

    def incidents(self, event_id: uuid.UUID) -> list[tuple[int, str, int]]:
        request = pb.ListIncidentsRequest(event_id=str(event_id))
        answer = self._scans.ListIncidents(request, metadata=self._metadata, timeout=10)
        return sorted((one.kind, one.ticket_id, len(one.scans)) for one in answer.incidents)

    def scans(self, event_id: uuid.UUID) -> list[scan_pb2.Scan]:
        request = pb.ListScansRequest(event_id=str(event_id), page_size=1_000)
        return list(self._scans.ListScans(request, metadata=self._metadata, timeout=10).scans)

    def refund(self, shown) -> None:
        revocation = revocations_pb.Revocation(
            revocation_id=str(uuid.uuid4()),
            ticket_id=str(shown.ticket_id),
            status=ticket_pb2.TICKET_STATUS_REFUNDED,
            issue=1,
        )
        request = revocations_pb.RevokeTicketsRequest(event_id=str(shown.event_id), revocations=[revocation])
        self._revocations.RevokeTickets(request, metadata=PEER_METADATA, timeout=10)


class Handheld:
    """A gate device with its store, channel and connection."""

    def __init__(self, stack: ExitStack, address: str, metadata: Metadata, gate: Gate, path: Path, **options) -> None:
        self.gate = gate
        self.store = Store(path)
        wall_clock = options.get("clock", system_clock)
        # Where a test sets the clock, the time since the start of the device advances as well.
        boot = Boot("boot", lambda: wall_clock() - START) if isinstance(wall_clock, SettableClock) else None
        clock = DeviceClock(self.store.read_clock(), wall_clock, options.get("boot", boot))
        self.clock = clock
        self._stack = stack.enter_context(ExitStack())
        self._stack.callback(self.store.close)
        open_channel = partial(grpc.insecure_channel, address, options=GATE_CHANNEL_OPTIONS)
        credential = options.get("credential") or Credential(metadata[0][1].removeprefix("Bearer "))
        self.client = ScanServiceClient(open_channel, credential, gate_message(gate))
        self.connection = Connection(self.client, self.store, clock, options.get("answer_seconds", 1.5))
        self.replica = DeviceReplica(self.client, gate.event_id, self.store, clock)
        kind = options.get("scan_type", ScanType.CHECK_IN)
        self.device = Device(gate, kind, self.store, self.connection, clock)
        self.shown: list[Any] = []

    def connect(self) -> "Handheld":
        self.connection.start()
        self._stack.callback(self.connection.stop)
        self.connection.wait_for_first_attempt(10)
        return self

    def follow(self) -> "Handheld":
        self.replica.start()
        self._stack.callback(self.replica.stop)
        return self

    @property
    def state(self) -> str:
        return self.connection.status.state

    def scan(self, text: str):
        return self.device.scan(text, self.shown.append)

    def close(self) -> None:
        """Switch the device off; its file stays."""
        self._stack.close()
