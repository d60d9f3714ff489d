"""Both services in this process, on real databases and real sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from scan_service.app import App as ScanApp
from tests.contract.matrix_world import World
from tests.environment.access import CODE_SECRET, PEER_SECRET, Issuer
from tests.scanning.gates import ScansDatabase, settings_of
from tests.selling.shop import Shop
from ticket_service.app import App as TicketApp
from ticket_service.settings import read_settings
from ticketing.chassis.settings import Environment


@pytest.fixture
async def world(tickets_url: URL, scans_url: URL, tmp_path: Path, issuer: Issuer) -> AsyncIterator[World]:
    copy = ScansDatabase(scans_url)
    # The matrix sends many wrong codes; a slowed answer would look like a refusal.
    scans = ScanApp(settings_of(tmp_path, issuer, SCANS_MAX_FAILED_CODES="100000"), scans_url)
    scans_port = await scans.start()
    environment = Environment(
        {
            "TICKETS_PORT": "0",
            "TICKETING_DATA_DIR": str(tmp_path),
            "TICKETING_JWKS_FILE": str(issuer.jwks_file),
            "TICKETING_PEER_SECRET": PEER_SECRET,
            "TICKETING_CODE_SECRET": CODE_SECRET,
            "TICKETS_SCANS_ADDRESS": f"127.0.0.1:{scans_port}",
            "TICKETS_SWEEP_SECONDS": "3600",
        }
    )
    settings = read_settings(environment)
    environment.check()
    tickets = TicketApp(settings, tickets_url)
    tickets_port = await tickets.start()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{tickets_port}") as ticket_channel,
        grpc.aio.insecure_channel(f"127.0.0.1:{scans_port}") as scan_channel,
    ):
        world = World(ticket_channel, scan_channel, issuer, copy, Shop(ticket_channel, issuer))
        yield world
        world.close()
    await tickets.stop()
    await scans.stop()
    copy.engine.dispose()
