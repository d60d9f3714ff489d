"""Fixtures of the tests of the proxies: two processes of each service, with all proxies in front."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.environment.access import Issuer
from tests.environment.certificates import Folder
from tests.environment.databases import execute
from tests.proxies.farm import PROXY_HOST, Farm, Ports, ProxyPorts
from tests.proxies.programs import PROGRAMS, Program


@pytest.fixture(scope="module")
def databases(templates: Callable[[str], URL]) -> Iterator[tuple[URL, URL]]:
    """Make empty databases of both services for all tests of a module."""
    urls = []
    for service in ("ticket", "scan"):
        template = templates(service)
        urls.append(template.set(database=f"{service}_{uuid.uuid4().hex}"))
        maintenance = template.set(database="postgres")
        execute(maintenance, f'CREATE DATABASE "{urls[-1].database}" TEMPLATE "{template.database}"')
    yield urls[0], urls[1]
    for url in urls:
        execute(url.set(database="postgres"), f'DROP DATABASE "{url.database}" WITH (FORCE)')


@pytest.fixture(scope="module")
def fronts(
    issuer: Issuer, databases: tuple[URL, URL], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Program, Farm]]:
    """Run two processes of each service, with every installed proxy, as shipped, in front of them at the same time.

    The calls of the services to each other take the proxies as well.
    """
    installed = [program for program in PROGRAMS if program.is_installed]
    if not installed:
        pytest.skip("no proxy is installed: packages " + ", ".join(program.package for program in PROGRAMS))
    free = free_ports(4 + 2 * len(installed))
    ports = Ports(*free[:4])
    proxies = [ProxyPorts(*free[4 + 2 * number :][:2]) for number in range(len(installed))]
    folder = tmp_path_factory.mktemp("farm")
    certificates = Folder(folder)
    identity = certificates.identity("ticketing.internal")
    proxy = certificates.identity(PROXY_HOST, of="proxy")
    # HAProxy reads the key from the file of the certificate.
    proxy.certificate.write_bytes(proxy.certificate.read_bytes() + proxy.key.read_bytes())
    variables = {
        **issuer.variables(folder),
        "TICKETING_TLS_CERTIFICATE": str(identity.certificate),
        "TICKETING_TLS_KEY": str(identity.key),
        "TICKETING_TLS_CA": str(certificates.ca),
        "TICKETS_DATABASE_URL": databases[0].render_as_string(hide_password=False),
        "SCANS_DATABASE_URL": databases[1].render_as_string(hide_password=False),
        "TICKETS_PORT": str(ports.tickets),
        "SCANS_PORT": str(ports.scans),
        "TICKETS_METRICS_PORT": str(ports.tickets_metrics),
        "SCANS_METRICS_PORT": str(ports.scans_metrics),
        "TICKETING_TRUSTED_PROXIES": PROXY_HOST,
        # The value that docs/proxies.md gives: the proxies notice within 2 s that a process is not ready.
        "TICKETING_DRAIN_DELAY_SECONDS": "3",
    }
    farm = Farm(ports, proxies[0], proxies, variables, issuer, certificates)
    views = {program: farm.through(own) for program, own in zip(installed, proxies, strict=True)}
    with ExitStack() as stack:
        stack.callback(farm.kill_all)
        farm.start_all()
        for program, view in views.items():
            stack.enter_context(view.behind(program, tmp_path_factory.mktemp(program.name)))
        yield views


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """Return each proxy; skip those that are not installed."""
    program: Program = request.param
    if not program.is_installed:
        pytest.skip(f"{program.name} is not installed: package {program.package}")
    return program


@pytest.fixture(scope="module")
def proxied(program: Program, fronts: dict[Program, Farm]) -> Farm:
    """Return the processes as seen through each proxy."""
    return fronts[program]
