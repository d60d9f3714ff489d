"""Fixtures of the tests of the proxies: two processes of each service, and one proxy after the other in front."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.environment.access import Issuer
from tests.environment.certificates import Folder
from tests.environment.databases import execute
from tests.proxies.farm import HOSTS, PROXY_HOST, Farm, Ports
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


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """Return each proxy; skip those that are not installed."""
    program: Program = request.param
    if not program.is_installed:
        pytest.skip(f"{program.name} is not installed: package {program.package}")
    return program


@pytest.fixture(scope="module")
def farm(issuer: Issuer, databases: tuple[URL, URL], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Run two processes of each service, whose calls to each other take the proxy as well."""
    ports = Ports(*free_ports(6))
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
        "TICKETS_SCANS_ADDRESS": f"{PROXY_HOST}:{ports.scans_proxy}",
        "SCANS_TICKETS_ADDRESS": f"{PROXY_HOST}:{ports.tickets_proxy}",
        "TICKETING_TRUSTED_PROXIES": PROXY_HOST,
        # The proxies notice within 2 s that a process is not ready.
        "TICKETING_DRAIN_DELAY_SECONDS": "2",
        "TICKETING_LOG_LEVEL": "DEBUG",
    }
    farm = Farm(ports, variables, issuer, certificates)
    try:
        farm.start_all()
        yield farm
    finally:
        with ThreadPoolExecutor() as threads:
            statuses = list(threads.map(lambda process: process.end(), farm.running.values()))
    assert statuses == [0] * len(HOSTS)


@pytest.fixture(scope="module")
def proxied(farm: Farm, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Run the proxy, as shipped, in front of the processes."""
    with farm.behind(program, tmp_path_factory.mktemp(program.name)):
        yield farm
