"""Two processes of each service on a PostgreSQL server of their own, and a network that breaks between all of them."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final
from unittest import mock

from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.environment import ROOT
from tests.environment.access import Issuer, new_issuer
from tests.environment.databases import connected
from tests.environment.waiting import eventually
from tests.faults.database import ALONE, DatabaseServers
from tests.faults.network import Link
from tests.faults.slots import Slot
from tests.stand_ins.stripe import KEY, StripeStandIn
from ticket_service.commands.audit import run_audit
from ticketing.chassis.migrations import migrate

TICKETS, SCANS = "tickets", "scans"
MODULES: Final = {TICKETS: "ticket_service", SCANS: "scan_service"}
PROCESSES: Final = 2
HOLD_SECONDS: Final = 3
START_SECONDS: Final = 120.0


class Site:
    """The processes, the links between them by name, the database servers and the payment provider.

    `code` is the checkout whose services run, and `processes` their number each.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a run chooses
        self,
        folder: Path,
        stack: ExitStack,
        servers: str,
        guards: Mapping[str, str],
        code: Path,
        processes: int,
    ) -> None:
        self.folder = folder
        self._stack = stack
        self._code, self._processes = code, processes
        self.database = DatabaseServers(folder, servers)
        stack.callback(self.database.close)
        self.urls = {name: self._migrated(name) for name in MODULES}
        self.issuer: Issuer = new_issuer(folder)
        self.stripe = stack.enter_context(StripeStandIn())
        stack.callback(self.stripe.release_calls)
        self.links: dict[str, Link] = {}
        self.slots: dict[str, Slot] = {}
        self.audit_variables: dict[str, str] = {}
        ports = {name: free_ports(processes) for name in MODULES}
        for name in MODULES:
            for number in range(processes):
                guard = guards.get(name, "")
                self.slots[f"{name}-{number}"] = self._new_slot(name, number, ports, guard)
        for slot in self.slots.values():
            slot.start()
            stack.callback(slot.close)

    @property
    def runs_present_code(self) -> bool:
        """Return whether the services are those of this checkout."""
        return self._code == ROOT

    def await_start(self) -> None:
        """Wait until every process serves."""
        eventually(lambda: all(slot.is_up for slot in self.slots.values()), seconds=START_SECONDS)

    def addresses(self, name: str) -> list[str]:
        """Return the addresses of the processes of a service, as its clients reach them."""
        return [self.links[f"clients to {name}-{number}"].address for number in range(self._processes)]

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Return the rows that a query reads in a database."""
        with connected(self.urls[name]) as cursor:
            cursor.execute(query)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def audit(self) -> str:
        """Run the audit of the ticket service; return its output, or nothing if it found no breach."""
        output = io.StringIO()
        with mock.patch.dict(os.environ, self.audit_variables), redirect_stdout(output):
            status = run_audit(self.urls[TICKETS])
        return output.getvalue() if status else ""

    def command(self, name: str, *words: str) -> str:
        """Run a command of a service as an operator does; return its output."""
        done = subprocess.run(
            [sys.executable, "-m", MODULES[name], *words],
            cwd=self._code,
            env={
                **os.environ,
                "PYTHONPATH": f"{self._code}{os.pathsep}{self._code / 'protos'}",
                **self.slots[f"{name}-0"].variables,
                f"{name.upper()}_DATABASE_URL": self.urls[name].render_as_string(hide_password=False),
            },
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout

    def heal(self) -> None:
        """End every fault, and wait until every process serves."""
        for link in self.links.values():
            link.heal()
        for slot in self.slots.values():
            slot.send(signal.SIGCONT)
            slot.set_clock(0)
        self.stripe.fails.clear()
        self.stripe.breaks.clear()
        self.stripe.loses.clear()
        self.stripe.release_calls()
        self.stripe.refund_status = "succeeded"
        self.await_start()

    @contextmanager
    def down(self, *services: str) -> Iterator[None]:
        """Run a block while some services have no database, and then start them again."""
        slots = [slot for slot in self.slots.values() if slot.name.partition("-")[0] in services]
        links = [
            link
            for name, link in self.links.items()
            if any(name.startswith(f"{slot.name} to database") for slot in slots)
        ]
        for link in links:
            link.refuse()
        starts = {slot: slot.starts for slot in slots}
        for slot in slots:
            slot.send(signal.SIGKILL)
        try:
            yield
        finally:
            for link in links:
                link.heal()
        eventually(lambda: all(slot.is_up and slot.starts > starts[slot] for slot in starts), seconds=START_SECONDS)

    def _migrated(self, name: str) -> URL:
        url = self.database.url(name)
        if self.runs_present_code:
            # Services of another commit migrate at their start, by their own code.
            migrate(url, ROOT / MODULES[name] / "store" / "migrations")
        return url

    def _new_link(self, name: str, port: int) -> Link:
        link = self.links[name] = Link(("127.0.0.1", port))
        self._stack.callback(link.close)
        return link

    def _new_slot(self, name: str, number: int, ports: Mapping[str, list[int]], guard: str) -> Slot:
        own, port = f"{name}-{number}", ports[name][number]
        other = SCANS if name == TICKETS else TICKETS
        prefix = name.upper()
        databases = [
            self._new_link(f"{own} to database {server}", port).port for server, port in enumerate(self.database.ports)
        ]
        database = self.database.url_through(databases, name)
        peer = self._new_link(f"{own} to {other}-{number}", ports[other][number])
        self._new_link(f"clients to {own}", port)
        variables = {
            **self.issuer.variables(self.folder),
            f"{prefix}_DATABASE_URL": database.render_as_string(hide_password=False),
            f"{prefix}_PORT": str(port),
            f"{prefix}_METRICS_PORT": "0",
            f"{prefix}_{other.upper()}_ADDRESS": peer.address,
            "TICKETING_DRAIN_SECONDS": "1",
        }
        if name == TICKETS:
            provider = self._new_link(f"{own} to provider", int(self.stripe.api_base.rpartition(":")[2]))
            variables |= {
                "TICKETS_SWEEP_SECONDS": "0.3",
                "TICKETS_HOLD_SECONDS": str(HOLD_SECONDS),
                "TICKETS_RECONCILE_SECONDS": "2",
                "TICKETS_STRIPE_KEY": KEY,
                "TICKETS_STRIPE_API_BASE": f"http://{provider.address}",
            }
            self.audit_variables = {**variables, "TICKETS_STRIPE_API_BASE": self.stripe.api_base}
        return Slot(own, MODULES[name], variables, self.folder / f"clock-{own}", guard, self._code)


@contextmanager
def new_site(
    folder: Path,
    servers: str = ALONE,
    guards: Mapping[str, str] | None = None,
    code: Path = ROOT,
    processes: int = PROCESSES,
) -> Iterator[Site]:
    """Run a site on servers of a kind, whose services lack `guards`; everything that it started ends with it."""
    with ExitStack() as stack:
        site = Site(folder, stack, servers, guards or {}, code, processes)
        site.await_start()
        yield site
