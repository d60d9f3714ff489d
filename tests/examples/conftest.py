"""Both services, as `make up` runs them, with a stand-in for Stripe, and the environment of the examples."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from dev.keys import development_keys
from tests.e2e.service_pair import ServicePair
from tests.environment.access import Issuer
from tests.environment.databases import fresh_database
from tests.examples.site import Site
from tests.stand_ins.stripe import KEY, StripeStandIn

ROLES = {"organizer": "alice", "service": "shop", "scanner": "door", "user": "bob"}


@pytest.fixture(scope="module")
def site(templates: Callable[[str], URL], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data_dir = tmp_path_factory.mktemp("site")
    keys = development_keys(data_dir)
    tickets_port, scans_port = free_ports(2)
    addresses = {"TICKETS_ADDRESS": f"127.0.0.1:{tickets_port}", "SCANS_ADDRESS": f"127.0.0.1:{scans_port}"}
    with ExitStack() as stack, StripeStandIn() as stripe:
        variables = {
            **issuer.variables(data_dir),
            "TICKETING_JWKS_FILE": str(keys.jwks_file),
            "TICKETS_DATABASE_URL": fresh_database(stack, templates("ticket")),
            "SCANS_DATABASE_URL": fresh_database(stack, templates("scan")),
            "TICKETS_PORT": str(tickets_port),
            "SCANS_PORT": str(scans_port),
            **dict.fromkeys(("TICKETS_METRICS_PORT", "TICKETS_RELAY_METRICS_PORT", "SCANS_METRICS_PORT"), "0"),
            "TICKETS_SCANS_ADDRESS": addresses["SCANS_ADDRESS"],
            "SCANS_TICKETS_ADDRESS": addresses["TICKETS_ADDRESS"],
            "TICKETS_STRIPE_KEY": KEY,
            "TICKETS_STRIPE_API_BASE": stripe.api_base,
        }
        pair = ServicePair(variables, issuer, stack)
        for module in ("ticket_service", "scan_service"):
            pair.start(module)
        tokens = {f"{role.upper()}_TOKEN": keys.token(role, subject) for role, subject in ROLES.items()}
        yield Site(pair, stripe, {**addresses, **tokens, "TICKETING_DATA_DIR": str(data_dir)})
        for module in list(pair.running):
            assert pair.stop(module) == 0, pair.log


@pytest.fixture(scope="module")
def event_id(site: Site) -> str:
    return site.run("publish.py")
