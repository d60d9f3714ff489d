"""Gate devices, and the scan service in an event loop of its own: the tests are as synchronous as the device."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from scan_service.app import App
from scan_service.store.clock import DatabaseClock
from tests.environment.access import Issuer
from tests.environment.clock import SettableClock
from tests.gate.venue import Handheld, Office, Wifi
from tests.scanning.gates import ScansDatabase, database, settings_of
from tests.stand_ins.scans import ScanServiceStandIn, StandInServer
from ticketing.admission.scans import Gate

__all__ = ["database"]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect after 50 ms instead of half a second."""
    monkeypatch.setattr("ticketing.gate.retrying.FIRST_BACKOFF_SECONDS", 0.05)


@pytest.fixture
def venue_clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def scan_service(database: ScansDatabase, tmp_path: Path, issuer: Issuer, venue_clock: SettableClock) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = App(settings_of(tmp_path, issuer), database.url, venue_clock, DatabaseClock(venue_clock.shift))
    port = asyncio.run_coroutine_threadsafe(app.start(), loop).result(20)
    yield f"127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(app.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def wifi(scan_service: str) -> Iterator[Wifi]:
    made = Wifi(scan_service)
    yield made
    made.pull()


@pytest.fixture
def office(scan_service: str, issuer) -> Iterator[Office]:
    with grpc.insecure_channel(scan_service) as channel:
        # The token outlives a test that advances the clock by a night.
        yield Office(channel, issuer.metadata("organizer", "orga", exp=datetime.now(UTC) + timedelta(hours=9)))


NewHandheld = Callable[..., Handheld]


@pytest.fixture
def new_handheld(tmp_path: Path, issuer: Issuer) -> Iterator[NewHandheld]:
    """Make devices; the file of each has its name."""
    with ExitStack() as stack:

        def make(address: str, event_id, name: str = "one", **options) -> Handheld:
            path = tmp_path / f"{name}.sqlite"
            metadata = options.pop("metadata", None) or issuer.metadata("scanner", name)
            return Handheld(stack, address, metadata, Gate(event_id, name), path, **options)

        yield make


@pytest.fixture
def server() -> Iterator[StandInServer]:
    """Run the stand-in for the scan service, whose answers a test may lose."""
    running = StandInServer(ScanServiceStandIn())  # type: ignore[abstract]  # other calls are UNIMPLEMENTED
    yield running
    running.stop()


@pytest.fixture
def stand_in(server: StandInServer) -> ScanServiceStandIn:
    return server.service


@pytest.fixture
def handheld(server: StandInServer, new_handheld: NewHandheld) -> Handheld:
    """Connect a device with a short answer timeout to the stand-in."""
    return new_handheld(server.address, server.service.event_id, answer_seconds=0.3).connect()
