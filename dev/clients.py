"""Clients of both services, written as an internal backend and a gate device would write them."""

# grpcio's types are generic in its stubs only.
from __future__ import annotations

import contextlib
import os
import queue
import secrets
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from dev.keys import DevelopmentKeys, development_keys
from ticketing.scans.v1 import scan_pb2, scan_service_pb2, scan_service_pb2_grpc
from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    purchase_service_pb2_grpc,
    ticket_service_pb2_grpc,
)

Request = TypeVar("Request")
Response = TypeVar("Response")
CALL_SECONDS = 10.0
STREAM_SECONDS = 120.0
LISTENING_PORTS = range(15_000, 32_000)


class NotStartedError(Exception):
    """The services did not start; their log contains the reason."""


@dataclass(frozen=True)
class Services:
    """Channels to both services, and the keys that sign tokens for their clients."""

    tickets: grpc.Channel
    scans: grpc.Channel
    keys: DevelopmentKeys

    def client(self, role: str, subject: str) -> ApiClient:
        """Return a client that has the role and is identified as the subject."""
        return ApiClient(self.tickets, self.scans, self.keys.token(role, subject))


class ApiClient:
    """Stubs of both services and one access token."""

    def __init__(self, tickets: grpc.Channel, scans: grpc.Channel, token: str) -> None:
        self.events = event_service_pb2_grpc.EventServiceStub(tickets)
        self.purchases = purchase_service_pb2_grpc.PurchaseServiceStub(tickets)
        self.tickets = ticket_service_pb2_grpc.TicketServiceStub(tickets)
        self.scans = scan_service_pb2_grpc.ScanServiceStub(scans)
        self._metadata = (("authorization", f"Bearer {token}"),)

    def ask(self, rpc: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Make one unary call."""
        return rpc(request, metadata=self._metadata, timeout=CALL_SECONDS)

    def publish(self, event: event_pb2.Event) -> event_pb2.Event:
        """Create an event and publish it."""
        creation = event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=event)
        event_id = self.ask(self.events.CreateEvent, creation).event.event_id
        return self.ask(self.events.PublishEvent, event_service_pb2.PublishEventRequest(event_id=event_id)).event

    def stream(
        self, requests: Iterator[scan_service_pb2.StreamScansRequest]
    ) -> Iterator[scan_service_pb2.StreamScansResponse]:
        """Open a scan stream."""
        return self.scans.StreamScans(requests, metadata=self._metadata, timeout=STREAM_SECONDS)


class GateClient:
    """A gate device with one open stream; it waits for each verdict before the next scan."""

    def __init__(self, client: ApiClient, event_id: str) -> None:
        self._requests: queue.SimpleQueue[scan_service_pb2.StreamScansRequest | None] = queue.SimpleQueue()
        self._answers = client.stream(iter(self._requests.get, None))
        gate = scan_pb2.Gate(event_id=event_id, location="North 3")
        self._requests.put(scan_service_pb2.StreamScansRequest(open=gate))
        self.opened = next(self._answers).opened

    def scan(self, code: str) -> scan_pb2.Scan:
        """Scan a ticket and return the recorded scan."""
        attempt = scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=code)
        self._requests.put(scan_service_pb2.StreamScansRequest(scan=attempt))
        return next(self._answers).result

    def close(self) -> None:
        """End the stream."""
        self._requests.put(None)
        for _ in self._answers:
            pass


@contextlib.contextmanager
def running_services(**more: str) -> Iterator[Services]:
    """Run `dev.up` on free ports and in a temporary folder, with further settings of both services.

    Raises:
        NotStartedError: `dev.up` ended before both services were healthy.
    """
    with tempfile.TemporaryDirectory(prefix="ticketing-demo-") as directory:
        ports = dict(zip(("TICKETS_PORT", "SCANS_PORT"), free_ports(2), strict=True))
        variables = {
            **os.environ,
            "TICKETING_DATA_DIR": directory,
            "TICKETING_LOG_LEVEL": "WARNING",
            "TICKETS_METRICS_PORT": "0",
            "TICKETS_RELAY_METRICS_PORT": "0",
            "SCANS_METRICS_PORT": "0",
            **{name: str(port) for name, port in ports.items()},
            **more,
        }
        up = subprocess.Popen([sys.executable, "-m", "dev.up"], env=variables, stdout=subprocess.PIPE, text=True)
        try:
            if up.stdout is None or not up.stdout.readline():
                raise NotStartedError("the services did not start")
            with (
                grpc.insecure_channel(f"127.0.0.1:{ports['TICKETS_PORT']}") as tickets,
                grpc.insecure_channel(f"127.0.0.1:{ports['SCANS_PORT']}") as scans,
            ):
                yield Services(tickets, scans, development_keys(Path(directory)))
        finally:
            up.terminate()
            up.communicate()


def free_ports(count: int) -> list[int]:
    """Return ports without a listener, below the range that the system uses for outgoing connections.

    A client that retries a port of that range while no server listens can connect to itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(LISTENING_PORTS)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found
