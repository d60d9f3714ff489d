"""Fixtures of the ticket service: a real one in this process, behind a real socket, with a clock that tests can set."""

import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from tests.environment.access import CODE_SECRET, PEER_SECRET, Issuer
from tests.environment.clock import SettableClock
from tests.selling.shop import Shop
from tests.stand_ins.revocations import ScansStandIn
from ticket_service.app import App
from ticket_service.settings import Settings, read_settings
from ticketing.chassis.database import Database
from ticketing.chassis.settings import Environment


@pytest.fixture
def clock() -> SettableClock:
    """Give the hour to the service under test; access tokens stay good, for they end with the real hour."""
    return SettableClock(datetime.now(UTC).replace(microsecond=0))


def environment(issuer: Issuer, data_dir: Path, **more: str) -> dict[str, str]:
    """Make the environment of a service that listens anywhere."""
    return {
        "TICKETS_PORT": "0",
        "TICKETS_METRICS_PORT": "0",
        "TICKETING_DATA_DIR": str(data_dir),
        "TICKETING_JWKS_FILE": str(issuer.jwks_file),
        "TICKETING_PEER_SECRET": PEER_SECRET,
        "TICKETING_CODE_SECRET": CODE_SECRET,
        "TICKETING_DRAIN_SECONDS": "5",
        # A pool of connections less for each test that tells nobody.
        "TICKETS_RELAY": "off",
        **more,
    }


@pytest.fixture
async def database(tickets_url: URL) -> AsyncIterator[Database]:
    """Open an empty tickets database."""
    database = Database(tickets_url, "test")
    yield database
    await database.close()


EnvironmentOf = Callable[..., dict[str, str]]


@pytest.fixture
def environment_of(issuer: Issuer, tmp_path: Path) -> EnvironmentOf:
    """Make the environment of a service; keyword arguments are more variables of it."""
    return lambda **more: environment(issuer, tmp_path, **more)


MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(environment_of: EnvironmentOf) -> MakeSettings:
    """Make settings; keyword arguments are variables of the environment."""

    def make(**more: str) -> Settings:
        read = Environment(environment_of(**more))
        settings = read_settings(read)
        read.check()
        return settings

    return make


@pytest.fixture
async def service(make_settings: MakeSettings, tickets_url: URL, clock: SettableClock) -> AsyncIterator[str]:
    """Run a ticket service; gives its address."""
    app = App(make_settings(), tickets_url, clock)
    try:
        yield f"127.0.0.1:{await app.start()}"
    finally:
        await app.stop()


@pytest.fixture
async def channel(service: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to the service."""
    async with grpc.aio.insecure_channel(service) as channel:
        yield channel


@pytest.fixture
def shop(channel: grpc.aio.Channel, issuer: Issuer, clock: SettableClock) -> Shop:
    """Call the service as organizers, buyers and backends do."""
    return Shop(channel, issuer, clock())


@pytest.fixture
async def scans() -> AsyncIterator[ScansStandIn]:
    """Stand in for the scan service, once it is started."""
    stand_in = ScansStandIn()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
def scans_port() -> int:
    """Give a port that the scan service can come back to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
