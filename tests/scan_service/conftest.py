"""A scan service in this process, on a real socket and database."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from scan_service import app
from scan_service.settings import Settings
from scan_service.use_cases import admission_watcher, attendance
from tests.environment.access import Issuer
from tests.scanning.gates import ScansDatabase, Service, database, running_service, settings_of
from tests.stand_ins.tickets import TicketServiceStandIn
from ticketing.chassis import tasks
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import add_TicketFeedServiceServicer_to_server

__all__ = ["database"]


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat periodic work every 50 ms instead of every second."""
    monkeypatch.setattr(admission_watcher, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(attendance, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(tasks, "backoff_seconds", lambda *_, **__: 0.05)
    monkeypatch.setattr(app, "REPORT_SECONDS", 0.05)
    monkeypatch.setattr(app, "LOST_COMMITS_SECONDS", 0.05)
    monkeypatch.setattr(app, "RECOVERY_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def long_lock_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for row locks: a busy machine must not refuse scans of rows that a test locks for a moment."""
    for limits in (app.SCAN_LOCK_MILLISECONDS, app.LOCK_MILLISECONDS):
        monkeypatch.setitem(limits, "lock_timeout", 20_000)


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer) -> Settings:
    return settings_of(tmp_path, issuer)


@pytest.fixture
async def service(database: ScansDatabase, settings: Settings, issuer: Issuer) -> AsyncIterator[Service]:
    async with running_service(settings, database.url, issuer) as service:
        yield service


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
    settings = settings_of(tmp_path, issuer, SCANS_TICKETS_ADDRESS=tickets[1])
    async with running_service(settings, database.url, issuer) as service:
        yield service


@pytest.fixture
def orga(issuer: Issuer) -> tuple[tuple[str, str], ...]:
    """Return the metadata of the organizer of the events."""
    return issuer.metadata("organizer", "orga")
