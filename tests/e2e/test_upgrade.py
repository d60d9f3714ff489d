"""The upgrade without downtime: processes of the version before serve while the new version migrates and starts.

`version_before.txt` names the commit of the version before. Set it to the commit of each release.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.e2e.service_pair import NewServicePair, ServicePair, buy, new_gate, on_sale
from tests.environment import ROOT
from tests.environment.checkouts import NoHistoryError, check_out
from tests.environment.databases import execute, read_value
from tests.environment.waiting import eventually
from tests.processes.service import ServiceProcess
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow

SERVICES = ("ticket_service", "scan_service")
PREFIXES = {"ticket_service": "TICKETS", "scan_service": "SCANS"}
COMMIT = Path(__file__).with_name("version_before.txt").read_text().strip()


@pytest.fixture(scope="session")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Check the version before out; return its folder."""
    folder = tmp_path_factory.mktemp("before")
    try:
        check_out(COMMIT, folder)
    except NoHistoryError as missing:
        pytest.skip(str(missing))
    return folder


@pytest.fixture
def empty(tickets_url: URL, scans_url: URL) -> Iterator[dict[str, URL]]:
    """Return the URLs of databases without tables."""
    urls = {}
    for service, url in zip(SERVICES, (tickets_url, scans_url), strict=True):
        urls[service] = url.set(database=f"upgrade_{url.database}")
        execute(url.set(database="postgres"), f'CREATE DATABASE "{urls[service].database}"')
    yield urls
    for url in urls.values():
        execute(url.set(database="postgres"), f'DROP DATABASE "{url.database}" WITH (FORCE)')


class Load:
    """Purchases at the ticket service and scans of the bought tickets, one after the other, until the end."""

    def __init__(self, pair: ServicePair) -> None:
        self._event = on_sale(pair.caller("organizer", "olga"))
        self._shop = pair.caller("service", "shop")
        self._gate = new_gate(pair, self._event.event_id)
        self._stop = threading.Event()
        self.done = 0

    def run(self) -> None:
        with closing(self._gate):
            while not self._stop.is_set():
                [ticket] = buy(self._shop, self._event).tickets
                assert self._gate.scan(ticket.token).verdict == scan_pb2.VERDICT_ADMITTED
                self.done += 1

    @contextmanager
    def running(self) -> Iterator[Callable[[], None]]:
        """Run beside the body, which gets a function that waits for some more work; raise the first failed call."""
        with ThreadPoolExecutor(1) as thread:
            work = thread.submit(self.run)

            def more() -> None:
                target = self.done + 5
                eventually(lambda: self.done >= target or work.done())
                assert not work.done(), work.result()

            try:
                more()
                yield more
                more()
            finally:
                self._stop.set()
            work.result()


def revisions(urls: dict[str, URL]) -> dict[str, str]:
    return {service: read_value(url, "SELECT version_num FROM alembic_version") for service, url in urls.items()}


def newest() -> dict[str, str]:
    """Return the newest revision of each service: the file of the highest number."""
    folders = {service: ROOT / service / "store" / "migrations" / "versions" for service in SERVICES}
    return {service: max(file.name[:4] for file in folder.glob("[0-9]*.py")) for service, folder in folders.items()}


def test_an_upgrade_fails_no_call(new_pair: NewServicePair, empty: dict[str, URL], version_before: Path) -> None:
    before = new_pair(*(empty[service] for service in SERVICES))
    for service in SERVICES:
        before.running[service] = ServiceProcess(service, before.variables, root=version_before)
    with Load(before).running() as more, ExitStack() as stack:
        ports = dict(zip(("TICKETS_PORT", "SCANS_PORT"), map(str, free_ports(2)), strict=True))
        for service in SERVICES:
            stack.enter_context(ServiceProcess(service, {**before.variables, **ports}))
        assert revisions(empty) == newest()
        more()
        # A process of the version before restarts on the new schema.
        for service in SERVICES:
            again = ServiceProcess(service, {**before.variables, f"{PREFIXES[service]}_PORT": "0"}, root=version_before)
            assert again.end() == 0
