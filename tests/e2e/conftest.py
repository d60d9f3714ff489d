"""Fixtures of the tests of both services together."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.e2e.service_pair import NewServicePair, ServicePair
from tests.environment.access import Issuer
from tests.environment.databases import NewDatabase


@pytest.fixture
def new_pair(issuer: Issuer, tmp_path: Path, new_database: NewDatabase) -> Iterator[NewServicePair]:
    """Make service pairs; the teardown stops them before their databases are dropped."""
    with ExitStack() as stack:
        pairs = []

        def make(tickets_url: URL, scans_url: URL, **more: str) -> ServicePair:
            tickets_port, scans_port = free_ports(2)
            variables = {
                **issuer.variables(tmp_path),
                "TICKETS_DATABASE_URL": tickets_url.render_as_string(hide_password=False),
                "SCANS_DATABASE_URL": scans_url.render_as_string(hide_password=False),
                "TICKETS_PORT": str(tickets_port),
                "SCANS_PORT": str(scans_port),
                "TICKETS_METRICS_PORT": "0",
                "TICKETS_RELAY_METRICS_PORT": "0",
                "SCANS_METRICS_PORT": "0",
                "TICKETS_SCANS_ADDRESS": f"127.0.0.1:{scans_port}",
                "SCANS_TICKETS_ADDRESS": f"127.0.0.1:{tickets_port}",
                "TICKETS_SWEEP_SECONDS": "0.2",
                **more,
            }
            pair = ServicePair(variables, issuer, stack)
            pairs.append(pair)
            return pair

        yield make
        for pair in pairs:
            for module in list(pair.running):
                assert pair.stop(module) == 0, pair.log


@pytest.fixture
def pair(new_pair: NewServicePair, tickets_url: URL, scans_url: URL) -> ServicePair:
    """Start both services on empty databases of one server."""
    pair = new_pair(tickets_url, scans_url)
    pair.start("ticket_service")
    pair.start("scan_service")
    return pair
