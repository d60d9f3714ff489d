"""A scan service on a real database and a real socket."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
from conftest import Issuer
from gates import Copy, MovableClock, Service, settings_of
from sqlalchemy.engine import URL

from scan_service.app import App
from scan_service.settings import Settings


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
    clock = MovableClock()
    app = App(settings, copy.url, clock)
    port = await app.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Service(app, channel, issuer, clock)
    await app.stop()
