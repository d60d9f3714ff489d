"""Both services in this process, their databases with real backups, the payment provider and the gate devices."""

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import uuid
from argparse import ArgumentParser
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from unittest import mock

import grpc
from sqlalchemy.engine import URL

from dev.clients import ApiClient, free_ports
from scan_service import command_line as scans_commands
from scan_service.app import App as ScansApp
from scan_service.settings import read_settings as read_scans_settings
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.databases import connected, execute, read_value
from tests.environment.waiting import eventually
from tests.faults.database import DatabaseServers
from tests.gate.venue import Handheld, Wifi
from tests.stand_ins.stripe import KEY, StripeStandIn
from ticket_service import command_line as tickets_commands
from ticket_service.app import App as TicketsApp
from ticket_service.settings import read_settings
from ticketing.admission.scans import Gate
from ticketing.chassis.clock import system_clock
from ticketing.chassis.postgres.launcher import find_programs
from ticketing.chassis.settings import Environment
from ticketing.gate.credential import Credential
from ticketing.gate.enrollment import enroll_device
from ticketing.gate.store import Store
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub

T = TypeVar("T")

TICKETS: Final = "tickets"
SCANS: Final = "scans"
MODULES: Final = {TICKETS: "ticket_service", SCANS: "scan_service"}
# The states of a device that waits for nothing, with whether it has sent everything.
DELIVERED: Final = {("ONLINE", True), ("REFUSED", True), ("REFUSED", False)}
# A busy machine takes long.
SECONDS: Final = 120.0
COMMANDS: Final = {TICKETS: tickets_commands.COMMANDS, SCANS: scans_commands.COMMANDS}
# Intervals that take minutes in production, and so would fill the whole drill.
FASTER: Final = {
    "dev.clients.CALL_SECONDS": 30.0,
    "ticket_service.app.LOOK_SECONDS": 0.7,
    "scan_service.app.KEY_SECONDS": 0.7,
    "ticketing.gate.retrying.FIRST_BACKOFF_SECONDS": 0.1,
    "ticketing.gate.retrying.MAX_BACKOFF_SECONDS": 0.2,
    "ticketing.gate.retrying.REFUSED_BACKOFF_SECONDS": 0.5,
    "ticketing.gate.retrying._LOOK_SECONDS": 0.1,
}


@contextmanager
def faster() -> Iterator[None]:
    """Shorten the intervals of FASTER, and let a new key sign at once."""
    with ExitStack() as stack:
        for name, seconds in FASTER.items():
            stack.enter_context(mock.patch(name, seconds))
        ahead = "ticket_service.use_cases.keys.PUBLISHED_AHEAD"
        stack.enter_context(mock.patch(ahead, system_clock() - system_clock()))
        yield


class Site:
    """A pair of services on fixed ports; a drill stops them, and restores their databases."""

    def __init__(self, template: Callable[[str], URL], issuer: Issuer, folder: Path, stack: ExitStack) -> None:
        self._template = template
        self._issuer = issuer
        self._folder = folder
        self._stack = stack
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._running: dict[str, TicketsApp | ScansApp] = {}
        # The servers of each database, where it has its own.
        self._servers: dict[str, DatabaseServers] = {}
        self.urls = {TICKETS: self._new_database("ticket"), SCANS: self._new_database("scan")}
        self.ports = dict(zip((TICKETS, SCANS), free_ports(2), strict=True))
        self.stripe = stack.enter_context(StripeStandIn(system_clock))
        self.key_file = folder / "keys" / "signing.json"

    @property
    def variables(self) -> dict[str, str]:
        """Return the settings of both services."""
        tickets, scans = (f"127.0.0.1:{self.ports[name]}" for name in (TICKETS, SCANS))
        return {
            **self._issuer.variables(self._folder),
            "TICKETS_PORT": str(self.ports[TICKETS]),
            "SCANS_PORT": str(self.ports[SCANS]),
            "TICKETS_METRICS_PORT": "0",
            "SCANS_METRICS_PORT": "0",
            "TICKETS_SCANS_ADDRESS": scans,
            "SCANS_TICKETS_ADDRESS": tickets,
            "TICKETS_SWEEP_SECONDS": "0.3",
            "TICKETING_DRAIN_SECONDS": "1",
            "TICKETS_STRIPE_KEY": KEY,
            "TICKETS_STRIPE_API_BASE": self.stripe.api_base,
        }

    def start(self, *names: str) -> None:
        """Start those services that do not run."""
        for name in names:
            if name in self._running:
                continue
            environment = Environment(self.variables)
            app: TicketsApp | ScansApp
            if name == TICKETS:
                app = TicketsApp(read_settings(environment), self.urls[name])
            else:
                app = ScansApp(read_scans_settings(environment), self.urls[name])
            self._run(app.start())
            self._running[name] = app

    def is_running(self, name: str) -> bool:
        """Return whether a service runs."""
        return name in self._running

    def stop(self, *names: str) -> None:
        """Stop services, all by default."""
        for name in names or list(self._running):
            if (app := self._running.pop(name, None)) is not None:
                self._run(app.stop())

    def await_sweep(self, name: str) -> None:
        """Wait until a sweeper of the ticket service has begun and ended a sweep."""
        app = self._running[TICKETS]
        record = next(task.record for task in app.tasks.running() if task.record.name == name)
        times = set[float | None]()

        def is_repeated() -> bool:
            times.add(record.report_time)
            # The sweep that has begun before may have missed something.
            return len(times) > 2

        eventually(is_repeated, seconds=SECONDS)

    def close(self) -> None:
        """Stop everything, and drop the databases."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._drop_databases()

    def _drop_databases(self) -> None:
        for url in self.urls.values():
            execute(url.set(database="postgres"), f'DROP DATABASE "{url.database}" WITH (FORCE)')

    def caller(self, role: str, subject: str) -> ApiClient:
        """Return a client whose channels are new, so that no call waits for the back-off of an earlier failure."""
        return ApiClient(self.channel(TICKETS), self.channel(SCANS), self._issuer.token(role, subject))

    def channel(self, name: str) -> grpc.Channel:
        """Return a new channel to a service."""
        return self._stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}"))

    def back_up(self, name: str) -> Path:
        """Dump a database with pg_dump, while its service runs; return the file."""
        path = self._folder / f"{name}-{uuid.uuid4().hex}.dump"
        self._postgres("pg_dump", "-Fc", "-Z0", "-f", str(path), "-d", _plain(self.urls[name]))
        return path

    def restore(self, name: str, path: Path) -> None:
        """Replace the database of a stopped service by a dump."""
        url = self.urls[name]
        maintenance = url.set(database="postgres")
        execute(maintenance, f'DROP DATABASE "{url.database}" WITH (FORCE)')
        execute(maintenance, f'CREATE DATABASE "{url.database}"')
        self._postgres("pg_restore", "--no-owner", "--exit-on-error", "-d", _plain(url), str(path))

    def command(self, name: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Run a command of a service as a process; return its exit status and its lines of JSON."""
        path = f"{ROOT}{os.pathsep}{ROOT / 'protos'}"
        variables = {
            **os.environ,
            "PYTHONPATH": path,
            **self.variables,
            f"{name.upper()}_DATABASE_URL": self.urls[name].render_as_string(hide_password=False),
        }
        command = [sys.executable, "-m", MODULES[name], *words]
        done = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode not in {0, 1}:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stderr}")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def command_here(self, name: str, *words: str) -> tuple[int, str]:
        """Run a command in this process, where a test may have removed a guard; return its exit status and its output."""
        [command] = [one for one in COMMANDS[name] if one.name == words[0]]
        parser = ArgumentParser()
        command.add_arguments(parser)
        output = io.StringIO()
        with mock.patch.dict(os.environ, self.variables), redirect_stdout(output):
            status = command.run(self.urls[name], parser.parse_args(words[1:]))
        return status, output.getvalue()

    def read(self, name: str, query: str) -> Any:
        """Return the one value that a query reads in a database."""
        return read_value(self.urls[name], query)

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Return the rows that a query reads in a database."""
        with connected(self.urls[name]) as cursor:
            cursor.execute(query)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def settle(self) -> None:
        """Wait until the gates have every change, every check-in is reported, and no cancellation is pending."""
        eventually(self._unsettled, {}, seconds=SECONDS)

    def _unsettled(self) -> dict[str, Any]:
        """Return what one service has and the other lacks."""
        epochs = (self.read(TICKETS, "SELECT epoch::text FROM feed"), self.read(SCANS, "SELECT epoch FROM feed"))
        wanted = self.rows(TICKETS, "SELECT event_id, revision FROM events WHERE revision > 0")
        present = dict(self.rows(SCANS, "SELECT event_id, revision FROM feed_cursors"))
        keys = "SELECT key_id, retire_time IS NULL FROM signing_keys ORDER BY key_id"
        found = {
            # A version of the feed follows the epoch.
            "epochs": () if epochs[1].startswith(epochs[0]) else epochs,
            "events": [(one, revision) for one, revision in wanted if present.get(one) != revision],
            "check-ins": self.rows(SCANS, "SELECT ticket_id FROM tickets WHERE sequence > reported_sequence"),
            "devices": self.rows(SCANS, "SELECT device_id FROM devices WHERE NOT reported"),
            "cancellations": self.rows(TICKETS, "SELECT ticket_id FROM cancellations WHERE status = 'PENDING'"),
            "keys": () if self.rows(TICKETS, keys) == self.rows(SCANS, keys) else self.rows(SCANS, keys),
        }
        return {name: value for name, value in found.items() if value}

    def _new_database(self, service: str) -> URL:
        template = self._template(service)
        url = template.set(database=f"drill_{service}_{uuid.uuid4().hex}")
        execute(template.set(database="postgres"), f'CREATE DATABASE "{url.database}" TEMPLATE "{template.database}"')
        return url

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def _postgres(self, program: str, *words: str) -> None:
        command = [str(find_programs() / program), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise AssertionError(f"{program}: {done.stderr}")


class Organizer(Protocol):
    """A client with the role of an organizer."""

    def ask(self, rpc: Any, request: Any) -> Any: ...


class Lane:
    """An enrolled gate device at one event, with a network of its own that a history cuts."""

    def __init__(self, site: Site, organizer: Organizer, event_id: str, name: str, folder: Path) -> None:
        self.name, self.event_id = name, event_id
        devices = DeviceServiceStub(site.channel(SCANS))
        created = organizer.ask(devices.CreateDevice, devices_pb.CreateDeviceRequest(name=name))
        self.device_id: str = created.device.device_id
        path = folder / f"{name}.sqlite"
        store = Store(path)
        enroll_device(store, devices, created.enrollment_code)
        token = store.setting("token") or ""
        store.close()
        self._stack = ExitStack()
        self.wifi = Wifi(f"127.0.0.1:{site.ports[SCANS]}")
        self.is_online = True
        gate = Gate(uuid.UUID(event_id), name)
        self.handheld = Handheld(self._stack, self.wifi.address, (), gate, path, credential=Credential(token))
        self.handheld.connect().follow()
        store = self.handheld.store
        eventually(lambda: store.replica_state(gate.event_id).is_complete, seconds=SECONDS)

    def cut(self) -> None:
        """Cut the network, and wait until the device has noticed."""
        self.wifi.pull()
        self.is_online = False
        eventually(lambda: not self.handheld.connection.is_reachable(), seconds=SECONDS)

    def plug_in(self) -> None:
        """Connect the device again."""
        self.wifi.plug_in()
        self.is_online = True

    def await_delivery(self) -> None:
        """Wait until the device is online and has sent everything, or is refused."""
        queue_length = self.handheld.store.queue_length
        eventually(lambda: (self.handheld.state, queue_length() == 0) in DELIVERED, seconds=SECONDS)

    def close(self) -> None:
        """Switch the device off."""
        self._stack.close()
        if self.is_online:
            self.wifi.pull()
            self.is_online = False


def _plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
