"""Both services and the relay, as `make up` runs them, with stand-ins for Stripe and a webhook."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from dev.keys import development_keys
from tests.e2e.service_pair import ServicePair
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.databases import fresh_database
from tests.runbook.site import Site, listening_webhook
from tests.stand_ins.stripe import KEY, StripeStandIn
from tests.stand_ins.webhook import SECRET

# The ports of the runbook: those of `make up`, and those of a further scan service.
PORTS = ("50051", "50052", "9464", "9465", "9466", "50062", "9475")


@pytest.fixture(scope="module")
def site(templates: Callable[[str], URL], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    for name in ("Makefile", "dev", "ticketing", "ticket_service", "scan_service", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    keys = development_keys(folder / "data")
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    with ExitStack() as stack, StripeStandIn() as stripe, listening_webhook() as webhook:
        variables = {
            "TICKETING_DATA_DIR": str(folder / "data"),
            "TICKETING_JWKS_FILE": str(keys.jwks_file),
            "TICKETING_PEER_SECRET": keys.peer_secret,
            "TICKETING_CODE_SECRET": keys.code_secret,
            "TICKETS_DATABASE_URL": fresh_database(stack, templates("ticket")),
            "SCANS_DATABASE_URL": fresh_database(stack, templates("scan")),
            "TICKETS_PORT": ports["50051"],
            "SCANS_PORT": ports["50052"],
            "TICKETS_METRICS_PORT": ports["9464"],
            "SCANS_METRICS_PORT": ports["9465"],
            "TICKETS_RELAY_METRICS_PORT": ports["9466"],
            "TICKETS_SCANS_ADDRESS": f"127.0.0.1:{ports['50052']}",
            "SCANS_TICKETS_ADDRESS": f"127.0.0.1:{ports['50051']}",
            "TICKETS_SWEEP_SECONDS": "0.2",
            "TICKETS_STRIPE_KEY": KEY,
            "TICKETS_STRIPE_API_BASE": stripe.api_base,
            "TICKETS_WEBHOOK_URL": webhook.url,
            "TICKETS_WEBHOOK_SECRET": SECRET,
            "TICKETS_DELIVERY_ATTEMPTS": "1",
        }
        pair = ServicePair(variables, issuer, stack)
        for module in ("ticket_service", "scan_service", "relay"):
            pair.start(module)
        yield Site(pair, stripe, webhook, keys, ports, folder)
        for module in list(pair.running):
            assert pair.stop(module) == 0, pair.log
