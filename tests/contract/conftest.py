"""Both services in this process, on real databases and real sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from scan_service.app import App as ScanApp
from tests.contract.matrix_world import World
from tests.environment.access import Issuer
from tests.environment.serving import running
from tests.scanning.gates import ScansDatabase, settings_of
from tests.selling.shop import Shop
from ticket_service.app import App as TicketApp
from ticket_service.settings import read_settings
from ticketing.chassis.settings import Environment


@pytest.fixture
async def world(tickets_url: URL, scans_url: URL, tmp_path: Path, issuer: Issuer) -> AsyncIterator[World]:
    copy = ScansDatabase(scans_url)
    # The tests send many wrong codes and credentials; a slowed answer would look like a refusal.
    limits = {"TICKETING_MAX_FAILED_CREDENTIALS_PER_SECOND": "100000"}
    scan_limits = {"SCANS_MAX_FAILED_CODES": "100000", "SCANS_MAX_LOOK_UPS": "0", **limits}
    scans = ScanApp(settings_of(tmp_path, issuer, **scan_limits), scans_url)
    async with running(scans) as scans_address:
        environment = Environment(
            {
                "TICKETS_PORT": "0",
                **issuer.variables(tmp_path),
                "TICKETS_SCANS_ADDRESS": scans_address,
                "TICKETS_SWEEP_SECONDS": "3600",
                **limits,
            }
        )
        settings = read_settings(environment)
        environment.check()
        async with (
            running(TicketApp(settings, tickets_url)) as tickets_address,
            grpc.aio.insecure_channel(tickets_address) as ticket_channel,
            grpc.aio.insecure_channel(scans_address) as scan_channel,
        ):
            world = World(ticket_channel, scan_channel, issuer, copy, Shop(ticket_channel, issuer), tickets_url)
            yield world
            world.close()
    copy.engine.dispose()
