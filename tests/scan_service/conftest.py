"""A scan service on a real database and a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from scan_service.app import App
from scan_service.settings import Settings
from tests.environment.access import Issuer
from tests.environment.clock import SettableClock
from tests.scanning.gates import Copy, Service, settings_of
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import (
    TicketFeedServiceServicer,
    add_TicketFeedServiceServicer_to_server,
)


@pytest.fixture
def copy(scans_url: URL) -> Iterator[Copy]:
    made = Copy(scans_url)
    yield made
    made.engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer) -> Settings:
    return settings_of(tmp_path, issuer)


@pytest.fixture
async def service(copy: Copy, settings: Settings, issuer: Issuer) -> AsyncIterator[Service]:
    clock = SettableClock()
    app = App(settings, copy.url, clock)
    port = await app.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Service(app, channel, issuer, clock)
    await app.stop()


class TicketService(TicketFeedServiceServicer):
    """Stands in for the ticket service: tells what tests put in, and notes what it is told."""

    def __init__(self) -> None:
        self.keys: list[feed_pb.SigningKey] = []
        self.pages: asyncio.Queue[feed_pb.WatchTicketsResponse | None] = asyncio.Queue()
        self.watched: list[feed_pb.WatchTicketsRequest] = []
        self.keys_asked = 0
        self.reported: list[feed_pb.CheckIn] = []
        self.conflicts: list[feed_pb.CheckInConflict] = []
        self.metadata: dict[str, str] = {}
        # Every report, also where it is not taken.
        self.reports: list[feed_pb.ReportIncidentsRequest] = []
        self.takes_incidents = True
        self.metadata_of_incidents: dict[str, str] = {}

    @property
    def incidents(self) -> list[feed_pb.ReportedIncident]:
        return [incident for report in self.reports for incident in report.incidents]

    async def GetSigningKeys(self, request, context):  # noqa: N802
        self.keys_asked += 1
        return feed_pb.GetSigningKeysResponse(keys=self.keys)

    async def WatchTickets(self, request, context):  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        self.watched.append(request)
        while (page := await self.pages.get()) is not None:
            yield page

    async def ReportCheckIns(self, request, context):  # noqa: N802
        self.reported.extend(request.check_ins)
        return feed_pb.ReportCheckInsResponse(conflicts=self.conflicts)

    async def ReportIncidents(self, request, context):  # noqa: N802
        self.metadata_of_incidents = dict(context.invocation_metadata())
        self.reports.append(request)
        if not self.takes_incidents:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        return feed_pb.ReportIncidentsResponse()


@pytest.fixture
async def tickets() -> AsyncIterator[tuple[TicketService, str]]:
    """Run a stand-in of the ticket service; gives it and its address."""
    stand_in = TicketService()
    server = grpc.aio.server()
    add_TicketFeedServiceServicer_to_server(stand_in, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield stand_in, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def paired(
    copy: Copy, tmp_path: Path, issuer: Issuer, tickets: tuple[TicketService, str]
) -> AsyncIterator[Service]:
    """Run a scan service that follows the stand-in."""
    clock = SettableClock()
    app = App(settings_of(tmp_path, issuer, SCANS_TICKETS_ADDRESS=tickets[1]), copy.url, clock)
    port = await app.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Service(app, channel, issuer, clock)
    await app.stop()
