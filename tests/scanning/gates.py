"""The scans database, the service and a gate device, for tests that scan tickets."""

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import sqlalchemy as sa
from nacl.signing import SigningKey
from sqlalchemy.engine import URL

from scan_service.app import App
from scan_service.settings import Settings, read_settings
from scan_service.store.clock import DatabaseClock
from scan_service.store.tables import events, metadata, signing_keys, tickets
from tests.environment.access import CODE_SECRET, PEER_METADATA, Issuer
from tests.environment.clock import SettableClock
from tests.environment.databases import execute
from tests.environment.serving import running
from ticketing.admission.codes import Codes
from ticketing.admission.tokens import Token, read_token
from ticketing.chassis.settings import Environment
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import event_pb2, ticket_token_pb2

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
CODES = Codes(CODE_SECRET)


def token_of(  # noqa: PLR0913 - a token's fields
    key: SigningKey,
    event_id: uuid.UUID,
    ticket_id: uuid.UUID,
    *,
    key_id: int = 1,
    kind: "event_pb2.TicketType.ValueType" = event_pb2.TICKET_TYPE_STANDARD,
    issue: int = 1,
) -> str:
    """Sign a token by the contract, without code of either service."""
    payload = ticket_token_pb2.TicketToken(
        key_id=key_id, event_id=event_id.bytes, ticket_id=ticket_id.bytes, ticket_type=kind, issue=issue
    ).SerializeToString(deterministic=True)
    signature = key.sign(b"ticketing.tickets.v1.TicketToken\0" + payload).signature
    return "T1" + base64.b32encode(signature + payload).decode().rstrip("=")


def ticket_id_in(text: str) -> uuid.UUID:
    token = read_token(text)
    assert isinstance(token, Token)
    return token.ticket_id


@dataclass
class ScansDatabase:
    """The scans database, with rows as the feed creates them."""

    url: URL
    key: SigningKey = field(default_factory=SigningKey.generate)

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url)
        self.insert(
            signing_keys, key_id=1, public_key=bytes(self.key.verify_key), activate_time=NOW - DAY, retire_time=None
        )

    def insert(self, table: sa.Table, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(table.insert().values(**values))

    def update(self, table: sa.Table, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(table.update().values(**values))

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        with self.engine.begin() as connection:
            return [dict(row) for row in connection.execute(sa.select(metadata.tables[table])).mappings()]

    def value(self, query: str) -> Any:
        """Run a query and return the first value of its first row."""
        with self.engine.begin() as connection:
            return connection.exec_driver_sql(query).scalar()

    def cut_connections(self) -> None:
        """End all other sessions on the database."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def allow_connections(self, *, allowed: bool) -> None:
        """Refuse or allow connections to the database."""
        maintenance = self.url.set(database="postgres")
        execute(maintenance, f'ALTER DATABASE "{self.url.database}" ALLOW_CONNECTIONS {allowed}')
        if not allowed:
            self.engine.dispose()
            execute(
                maintenance,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.url.database}'",
            )

    def event(self, **values: Any) -> uuid.UUID:
        event_id = uuid.uuid4()
        usual: dict[str, Any] = {
            "event_id": event_id,
            "organizer_id": "orga",
            "name": "Concert",
            "status": "PUBLISHED",
            "admission_policy": "SINGLE_ENTRY",
            "valid_from_time": NOW - DAY,
            "valid_until_time": NOW + DAY,
            "generation": 0,
            "revision": 1,
            "closed": False,
        }
        self.insert(events, **(usual | values))
        return event_id

    def ticket(self, event_id: uuid.UUID, *, digest: bool = True, **values: Any) -> "ShownTicket":
        ticket_id = uuid.uuid4()
        shown = self.unknown(event_id, ticket_id)
        usual: dict[str, Any] = {
            "event_id": event_id,
            "ticket_id": ticket_id,
            "known": True,
            "ticket_type": "STANDARD",
            "status": "ACTIVE",
            "issue": 1,
            "code_digest": CODES.digest(shown.code),
            "token_digest": hashlib.sha256(shown.token.encode()).digest()[:16] if digest else None,
            "generation": 0,
            "revision": 1,
            "inside": False,
            "sequence": 0,
            "reported_sequence": 0,
        }
        self.insert(tickets, **(usual | values))
        return shown

    def unknown(self, event_id: uuid.UUID, ticket_id: uuid.UUID | None = None, issue: int = 1) -> "ShownTicket":
        """Return a sold ticket that the replica does not contain."""
        ticket_id = ticket_id or uuid.uuid4()
        return ShownTicket(
            event_id, ticket_id, CODES.code(ticket_id, issue), token_of(self.key, event_id, ticket_id, issue=issue)
        )


@pytest.fixture
def database(scans_url: URL) -> Iterator[ScansDatabase]:
    """Fill an empty scans database."""
    made = ScansDatabase(scans_url)
    yield made
    made.engine.dispose()


@dataclass(frozen=True)
class ShownTicket:
    """A ticket with the credentials that a person presents."""

    event_id: uuid.UUID
    ticket_id: uuid.UUID
    code: str
    token: str


@dataclass
class Service:
    """A running scan service with the stubs of its callers."""

    app: App
    channel: grpc.aio.Channel
    issuer: Issuer
    clock: SettableClock

    def __post_init__(self) -> None:
        self.scans = ScanServiceStub(self.channel)
        self.revocations = RevocationServiceStub(self.channel)
        self.devices = DeviceServiceStub(self.channel)
        self.scanner = self.issuer.metadata("scanner", "sam")
        self.peer = PEER_METADATA

    async def scan(self, event_id: uuid.UUID, code: str, **values: Any) -> scan_pb2.Scan:
        """Scan once, with a new scan_id unless one is given."""
        scan_id = values.pop("scan_id", None) or str(uuid.uuid4())
        gate = scan_pb2.Gate(**{"event_id": str(event_id), "location": "North", **values.pop("gate", {})})
        metadata = values.pop("metadata", self.scanner)
        request = pb.ScanTicketRequest(gate=gate, attempt=pb.ScanAttempt(scan_id=scan_id, code=code, **values))
        return (await self.scans.ScanTicket(request, metadata=metadata, timeout=20)).scan


def variables_of(data_dir: Path, issuer: Issuer) -> dict[str, str]:
    """Return the environment of a service without a ticket service."""
    return {
        "SCANS_PORT": "0",
        "SCANS_METRICS_PORT": "0",
        **issuer.variables(data_dir),
        # Nothing listens there: gates work without the ticket service.
        "SCANS_TICKETS_ADDRESS": "127.0.0.1:1",
        "TICKETING_DRAIN_SECONDS": "5",
    }


def settings_of(data_dir: Path, issuer: Issuer, **variables: str) -> Settings:
    """Read settings as a start of the service does."""
    environment = Environment(variables_of(data_dir, issuer) | variables)
    settings = read_settings(environment)
    environment.check()
    return settings


@asynccontextmanager
async def running_service(settings: Settings, url: URL, issuer: Issuer) -> AsyncIterator[Service]:
    clock = SettableClock()
    app = App(settings, url, clock, DatabaseClock(clock.shift))
    async with running(app) as address, grpc.aio.insecure_channel(address) as channel:
        yield Service(app, channel, issuer, clock)


class Device:
    """A gate device's stream."""

    event_id: uuid.UUID

    def __init__(self, service: Service, metadata: Any = None) -> None:
        self.call = service.scans.StreamScans(metadata=metadata or service.scanner)

    async def open(self, event_id: uuid.UUID, location: str = "North") -> pb.GateOpened:
        self.event_id = event_id
        await self.send(open=scan_pb2.Gate(event_id=str(event_id), location=location))
        opened: pb.GateOpened = (await self.receive()).opened
        return opened

    async def send(self, **message: Any) -> None:
        await self.call.write(pb.StreamScansRequest(**message))

    async def ask(self, code: str, scan_id: str | None = None, **values: Any) -> None:
        await self.send(scan=pb.ScanAttempt(scan_id=scan_id or str(uuid.uuid4()), code=code, **values))

    async def receive(self) -> Any:
        """Return the next message; `grpc.aio.EOF` at the end."""
        async with asyncio.timeout(20):
            return await self.call.read()

    async def scan(self, code: str, scan_id: str | None = None, **values: Any) -> scan_pb2.Scan:
        await self.ask(code, scan_id, **values)
        result: scan_pb2.Scan = (await self.receive()).result
        return result
