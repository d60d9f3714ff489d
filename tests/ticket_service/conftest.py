"""A ticket service in this process, on a real socket and database, with a settable clock."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from tests.environment.access import PEER_SECRET, Issuer
from tests.environment.clock import SettableClock
from tests.environment.serving import running
from tests.selling.shop import Shop
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import KEY, StripeStandIn
from ticket_service.adapters import scans as adapters_scans
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.app import App
from ticket_service.commands.audit import audit
from ticket_service.settings import Settings, read_settings
from ticketing.chassis.database import Database
from ticketing.chassis.peer_client import PeerClient
from ticketing.chassis.settings import Environment


@pytest.fixture
def clock() -> SettableClock:
    """Make the clock of the service. Access tokens stay valid: they expire by the real time."""
    return SettableClock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
async def database(tickets_url: URL) -> AsyncIterator[Database]:
    database = Database(tickets_url, "test")
    yield database
    await database.close()


EnvironmentOf = Callable[..., dict[str, str]]


@pytest.fixture
def environment_of(issuer: Issuer, tmp_path: Path) -> EnvironmentOf:
    """Make the environment of a service; keyword arguments add variables."""

    def make(**more: str) -> dict[str, str]:
        return {
            "TICKETS_PORT": "0",
            "TICKETS_METRICS_PORT": "0",
            "TICKETS_RELAY_METRICS_PORT": "0",
            **issuer.variables(tmp_path),
            "TICKETING_DRAIN_SECONDS": "5",
            # Nothing listens there: no test may call a scan service that happens to run on the default port.
            "TICKETS_SCANS_ADDRESS": "127.0.0.1:1",
            # Without a relay the service needs one connection pool less.
            "TICKETS_RELAY": "off",
            **more,
        }

    return make


MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(environment_of: EnvironmentOf) -> MakeSettings:
    """Make settings; keyword arguments add variables to the environment."""

    def make(**more: str) -> Settings:
        read = Environment(environment_of(**more))
        settings = read_settings(read)
        read.check()
        return settings

    return make


@pytest.fixture
async def service(make_settings: MakeSettings, tickets_url: URL, clock: SettableClock) -> AsyncIterator[str]:
    async with running(App(make_settings(), tickets_url, clock)) as address:
        yield address


@pytest.fixture
async def channel(service: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service) as channel:
        yield channel


@pytest.fixture
def shop(channel: grpc.aio.Channel, issuer: Issuer, clock: SettableClock) -> Shop:
    """Call the service as organizers, buyers and backends do."""
    return Shop(channel, issuer, clock())


@pytest.fixture
async def scans() -> AsyncIterator[ScansStandIn]:
    """Make a stand-in for the scan service; the test starts it."""
    stand_in = ScansStandIn()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def remote(scans: ScansStandIn, scans_port: int) -> AsyncIterator[ScanServiceClient]:
    """Start the stand-in for the scan service; return a client of it."""
    await scans.start(scans_port)
    peer = PeerClient(f"127.0.0.1:{scans_port}", PEER_SECRET)
    yield ScanServiceClient(peer)
    await peer.close()


@pytest.fixture
def stripe(clock: SettableClock) -> Iterator[StripeStandIn]:
    with StripeStandIn(clock) as stand_in:
        yield stand_in


@pytest.fixture
async def adds_up(tickets_url: URL) -> AsyncIterator[None]:
    """Check after the test that the audit finds no breach."""
    yield
    lines: list[str] = []
    assert await asyncio.to_thread(audit, tickets_url, lines.append) == 0, "\n".join(lines)


@pytest.fixture
def scans_port() -> int:
    """Find a port on which a test stops and restarts the scan service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the timeouts of calls, because the test machine may be busy."""
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", 20.0)
    monkeypatch.setattr(adapters_scans, "CALL_SECONDS", 20.0)


@pytest.fixture
async def card_service(
    make_settings: MakeSettings,
    tickets_url: URL,
    clock: SettableClock,
    stripe: StripeStandIn,
    scans: ScansStandIn,
) -> AsyncIterator[str]:
    """Run a ticket service that charges cards and whose sweeper runs every 100 ms; return its address."""
    settings = make_settings(
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
        TICKETS_SWEEP_SECONDS="0.1",
        # The outbox keeps its rows for the assertions.
        TICKETS_RELAY="off",
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
    )
    async with running(App(settings, tickets_url, clock)) as address:
        yield address
