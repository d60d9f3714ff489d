"""Two processes of each service on a PostgreSQL server of their own, and a network that breaks between all of them."""

import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final
from unittest import mock

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.environment import ROOT
from tests.environment.access import Issuer, new_issuer
from tests.environment.databases import connected
from tests.environment.waiting import eventually
from tests.faults.database import ALONE, DatabaseServers
from tests.faults.network import Link
from tests.processes.service import ServiceProcess
from tests.stand_ins.stripe import KEY, StripeStandIn
from ticket_service.commands.audit import run_audit
from ticketing.chassis.migrations import migrate

TICKETS, SCANS = "tickets", "scans"
MODULES: Final = {TICKETS: "ticket_service", SCANS: "scan_service"}
PROCESSES: Final = 2
HOLD_SECONDS: Final = 3
RESTART_SECONDS: Final = 0.3
START_SECONDS: Final = 120.0


class Slot:
    """A place for one process of a service, and a supervisor that starts the process again whenever it has ended."""

    def __init__(self, name: str, module: str, variables: Mapping[str, str], clock_file: Path, guard: str) -> None:
        self.name = name
        self._module = module
        self._variables = variables
        self._clock_file = clock_file
        self._guard = guard
        self._lock = threading.Lock()
        self._process: ServiceProcess | None = None
        self._ends = threading.Event()
        # The supervisor starts nothing before this time of `monotonic`.
        self._down_until = 0.0
        self.starts = 0
        self._log = ""
        self.set_clock(0)
        self._supervisor = threading.Thread(target=self._supervise, name=f"supervisor {name}", daemon=True)

    def start(self) -> None:
        """Start the supervisor."""
        self._supervisor.start()

    @property
    def is_up(self) -> bool:
        """Return whether the process serves."""
        process = self._process
        return process is not None and not process.has_ended()

    @property
    def metrics_port(self) -> int:
        """The HTTP port of the process; 0 while there is none."""
        process = self._process
        return 0 if process is None else process.metrics_port

    @property
    def log(self) -> str:
        """The lines of all processes so far."""
        process = self._process
        return self._log + (process.log() if process is not None else "")

    def send(self, number: int, down_seconds: float = 0.0) -> bool:
        """Send a signal to the process, which stays down for a time if it ends; return whether there was one."""
        with self._lock:
            process = self._process
            if process is None or process.has_ended():
                return False
            self._down_until = monotonic() + down_seconds
            process.send(number)
            return True

    def kill_children(self) -> int:
        """Kill the processes that the service has started, such as its drawing workers; return their number."""
        with self._lock:
            if self._process is None or self._process.has_ended():
                return 0
            children = children_of(self._process.pid)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return len(children)

    def set_clock(self, seconds: float) -> None:
        """Set the clock of the process ahead by some seconds."""
        self._clock_file.write_text(str(seconds))

    def close(self) -> None:
        """End the process for good."""
        self._ends.set()
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self._supervisor.join()

    def _supervise(self) -> None:
        arguments = (self._module, str(self._clock_file), *([self._guard] if self._guard else []))
        while not self._ends.is_set():
            if self._process is not None and not self._process.has_ended():
                self._ends.wait(0.05)
                continue
            if self._process is not None:
                self._process.end(signal.SIGKILL)
                self._log += self._process.log()
                self._process = None
            if self._ends.wait(max(RESTART_SECONDS, self._down_until - monotonic())):
                return
            # A service whose database or peer is out of reach ends, and the supervisor starts it again.
            with suppress(pytest.fail.Exception):
                process = ServiceProcess("tests.faults.program", self._variables, *arguments)
                self.starts += 1
                with self._lock:
                    self._process = process
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._log += self._process.log()


class Site:
    """The processes, the links between them by name, the database servers and the payment provider."""

    def __init__(self, folder: Path, stack: ExitStack, servers: str, guards: Mapping[str, str]) -> None:
        self.folder = folder
        self._stack = stack
        self.database = DatabaseServers(folder, servers)
        stack.callback(self.database.close)
        self.urls = {name: self._migrated(name) for name in MODULES}
        self.issuer: Issuer = new_issuer(folder)
        self.stripe = stack.enter_context(StripeStandIn())
        stack.callback(self.stripe.release_calls)
        self.links: dict[str, Link] = {}
        self.slots: dict[str, Slot] = {}
        self.audit_variables: dict[str, str] = {}
        ports = {name: free_ports(PROCESSES) for name in MODULES}
        for name in MODULES:
            for number in range(PROCESSES):
                guard = guards.get(name, "")
                self.slots[f"{name}-{number}"] = self._new_slot(name, number, ports, guard)
        for slot in self.slots.values():
            slot.start()
            stack.callback(slot.close)

    def await_start(self) -> None:
        """Wait until every process serves."""
        eventually(lambda: all(slot.is_up for slot in self.slots.values()), seconds=START_SECONDS)

    def addresses(self, name: str) -> list[str]:
        """Return the addresses of the processes of a service, as its clients reach them."""
        return [self.links[f"clients to {name}-{number}"].address for number in range(PROCESSES)]

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

    def _migrated(self, name: str) -> URL:
        url = self.database.url(name)
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
        return Slot(own, MODULES[name], variables, self.folder / f"clock-{own}", guard)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with suppress(FileNotFoundError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


@contextmanager
def new_site(folder: Path, servers: str = ALONE, guards: Mapping[str, str] | None = None) -> Iterator[Site]:
    """Run a site on servers of a kind, whose services lack `guards`; everything that it started ends with it."""
    with ExitStack() as stack:
        site = Site(folder, stack, servers, guards or {})
        site.await_start()
        yield site
