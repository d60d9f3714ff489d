"""A scan service in this process, on a real socket and database."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from scan_service.app import App
from scan_service.settings import Settings
from tests.environment.access import Issuer
from tests.environment.clock import SettableClock
from tests.scanning.gates import ScansDatabase, Service, database, settings_of
from tests.stand_ins.tickets import TicketServiceStandIn
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import (
    add_TicketFeedServiceServicer_to_server,
)

__all__ = ["database"]


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer) -> Settings:
    return settings_of(tmp_path, issuer)


@pytest.fixture
async def service(database: ScansDatabase, settings: Settings, issuer: Issuer) -> AsyncIterator[Service]:
    clock = SettableClock()
    app = App(settings, database.url, clock)
    port = await app.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Service(app, channel, issuer, clock)
    await app.stop()


@pytest.fixture
async def tickets() -> AsyncIterator[tuple[TicketServiceStandIn, str]]:
    """Run a stand-in for the ticket service; return it and its address."""
    stand_in = TicketServiceStandIn()
    server = grpc.aio.server()
    add_TicketFeedServiceServicer_to_server(stand_in, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield stand_in, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def paired(
    database: ScansDatabase, tmp_path: Path, issuer: Issuer, tickets: tuple[TicketServiceStandIn, str]
) -> AsyncIterator[Service]:
    """Run a scan service that follows the stand-in."""
    clock = SettableClock()
    app = App(settings_of(tmp_path, issuer, SCANS_TICKETS_ADDRESS=tickets[1]), database.url, clock)
    port = await app.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Service(app, channel, issuer, clock)
    await app.stop()
