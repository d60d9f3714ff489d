from collections.abc import AsyncIterator
from uuid import UUID

import grpc
import pytest
from sqlalchemy.engine import URL

from tests.environment.serving import running
from tests.selling.rows import sold
from tests.stand_ins.revocations import ScansStandIn
from ticket_service.app import App
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub


@pytest.fixture
async def service(make_settings, tickets_url: URL, clock: Clock, scans: ScansStandIn) -> AsyncIterator[str]:
    """Run a ticket service and a stand-in for the scan service."""
    port = await scans.start()
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{port}", TICKETS_SWEEP_SECONDS="0.1")
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> TicketServiceStub:
    return TicketServiceStub(channel)


@pytest.fixture
async def ticket_id(database: Database, clock: Clock) -> UUID:
    """Sell one ticket to alice."""
    _, [ticket_id] = await sold(database, clock)
    return ticket_id
