"""The measured system: both services as processes on free ports and in a temporary folder, and tickets to scan."""

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import grpc
import psycopg2

from dev import up
from dev.clients import ApiClient, free_ports
from dev.keys import DevelopmentKeys, development_keys
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import Lease
from ticketing.chassis.probe import is_serving
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, money_pb2, purchase_pb2, purchase_service_pb2, ticket_pb2

START_SECONDS = 60.0
STOP_SECONDS = 30.0
TICKETS_IN_A_PURCHASE = 20
SELLERS = 8
# The interval at which the benchmark counts the rows of the replica.
POLL_SECONDS = 0.05


class NotReadyError(Exception):
    """A service did not start, or the replica was not complete, within START_SECONDS."""


@dataclass
class Testbed:
    """Running services, which stop when the testbed is closed."""

    directory: Path
    variables: Mapping[str, str]
    keys: DevelopmentKeys
    stack: ExitStack
    channels: dict[str, grpc.Channel] = field(default_factory=dict)
    # The last started process of each service.
    services: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    # The checkout whose services run; None: this one.
    checkout: Path | None = None

    def start(self, module: str, port: int, **variables: str) -> None:
        """Start a service and wait until it is healthy."""
        prefix = "TICKETS" if module == "ticket_service" else "SCANS"
        settings = {**self.variables, f"{prefix}_PORT": str(port), **variables}
        self.services[module] = process = self._start(
            [sys.executable, "-m", "dev.child", module], settings, self.checkout
        )
        deadline = time.monotonic() + START_SECONDS
        while not is_serving(f"127.0.0.1:{port}", seconds=0.5):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotReadyError(f"{module} is not healthy")

    @contextmanager
    def relay(self, **variables: str) -> Iterator[None]:
        """Run a relay as a process of its own during the block, which begins once the outbox is empty."""
        command = [sys.executable, "-m", "dev.child", "ticket_service", "relay"]
        process = self._start(command, {**self.variables, **variables}, self.checkout)
        deadline = time.monotonic() + START_SECONDS
        try:
            while self.query("tickets", "SELECT count(*) FROM outbox") != [(0,)]:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotReadyError("the relay does not take up notifications")
                time.sleep(POLL_SECONDS)
            yield
        finally:
            stop(process)

    def stop(self, module: str) -> None:
        """Stop the last started process of a service."""
        stop(self.services[module])

    def start_echo(self, scan: bytes, purchase: bytes, variables: Mapping[str, str]) -> tuple[str, int]:
        """Start an echo with further environment variables; return its address."""
        port = free_ports(1)[0]
        paths = [self.directory / "scan.answer", self.directory / "purchase.answer"]
        for path, answer in zip(paths, (scan, purchase), strict=True):
            path.write_bytes(answer)
        self._start([sys.executable, "-m", "benchmarks.echo", str(port), *map(str, paths)], {**os.environ, **variables})
        grpc.channel_ready_future(self.channel(f"127.0.0.1:{port}")).result(START_SECONDS)
        return "127.0.0.1", port

    def _start(
        self, command: Sequence[str], variables: Mapping[str, str], checkout: Path | None = None
    ) -> subprocess.Popen[bytes]:
        if checkout is not None:
            # The generated code is in a folder of its own; Python looks in the working directory by itself.
            variables = {**variables, "PYTHONPATH": f"{checkout}:{checkout / 'protos'}"}
        process = subprocess.Popen(command, env=variables, cwd=checkout, start_new_session=True)
        self.stack.callback(stop, process)
        return process

    def channel(self, address: str) -> grpc.Channel:
        """Return the channel to `address`."""
        if address not in self.channels:
            self.channels[address] = self.stack.enter_context(grpc.insecure_channel(address))
        return self.channels[address]

    def address(self, prefix: str) -> tuple[str, int]:
        """Return the address of the first service whose settings have this prefix."""
        return "127.0.0.1", int(self.variables[f"{prefix}_PORT"])

    def metadata(self, role: str, subject: str) -> list[tuple[str, str]]:
        """Return the metadata that authenticates a caller."""
        return [("authorization", f"Bearer {self.keys.token(role, subject)}")]

    def client(self, role: str, subject: str) -> ApiClient:
        """Return a client of the first process of each service."""
        tickets, scans = (self.channel("{}:{}".format(*self.address(prefix))) for prefix in ("TICKETS", "SCANS"))
        return ApiClient(tickets, scans, self.keys.token(role, subject))

    def query(self, database: str, statement: str) -> Sequence[tuple[Any, ...]]:
        """Run a statement on a database and return its rows."""
        with psycopg2.connect(self.database_url(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database_url(self, database: str) -> str:
        """Return the URL of a database with its password."""
        return self.variables[f"BENCHMARK_{database.upper()}_URL"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, kill it after STOP_SECONDS, and wait for its end."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running_testbed(checkout: Path | None = None, **variables: str) -> Iterator[Testbed]:
    """Run both services, of this checkout or another one, on an embedded, durable PostgreSQL."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ticketing-bench-")))
        # This lease keeps the database running while services restart.
        server = stack.enter_context(Lease(directory))
        ports = dict(zip(("TICKETS_PORT", "SCANS_PORT"), map(str, free_ports(2)), strict=True))
        urls = {
            f"BENCHMARK_{name.upper()}_URL": database_url(server.url(name))
            .set(drivername="postgresql")
            .render_as_string(hide_password=False)
            for name in ("tickets", "scans")
        }
        logs_and_metrics = {
            "TICKETING_LOG_LEVEL": "WARNING",
            "TICKETS_METRICS_PORT": "0",
            "TICKETS_RELAY_METRICS_PORT": "0",
            "SCANS_METRICS_PORT": "0",
        }
        settings = {"TICKETING_DATA_DIR": str(directory), **logs_and_metrics, **ports, **urls, **variables}
        testbed = Testbed(
            directory, up.environment({**os.environ, **settings}), development_keys(directory), stack, checkout=checkout
        )
        for module, port in (("ticket_service", "TICKETS_PORT"), ("scan_service", "SCANS_PORT")):
            testbed.start(module, int(ports[port]))
        yield testbed


def publish(testbed: Testbed, places: int | None = None) -> event_pb2.Event:
    """Publish a free event whose doors are open, with `places` or any number of them."""
    now = datetime.now(UTC)
    event = event_pb2.Event(
        name="Concert",
        event_type=event_pb2.EVENT_TYPE_OTHER,
        doors_open_time=timestamp(now - timedelta(minutes=1)),
        start_time=timestamp(now + timedelta(hours=1)),
        end_time=timestamp(now + timedelta(hours=12)),
        ticket_price=money_pb2.Money(currency_code="EUR", minor_units=0),
        max_participants=places,
    )
    return testbed.client("organizer", "alice").publish(event)


def steady_latencies(call: Callable[[], object], seconds: float, rate: float) -> list[float]:
    """Call `rate` times a second; return the seconds from the scheduled time of each call to its answer."""
    latencies = list[float]()
    begin = time.perf_counter()
    for number in range(int(seconds * rate)):
        due = begin + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        call()
        latencies.append(time.perf_counter() - due)
    return latencies


def purchase_request(event: event_pb2.Event, quantity: int = 1) -> purchase_service_pb2.PurchaseTicketsRequest:
    """Return a request for free tickets."""
    return purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=event.event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=quantity)],
        user_id="bob",
        email="bob@example.com",
    )


def sell(testbed: Testbed, event: event_pb2.Event, count: int) -> list[ticket_pb2.Ticket]:
    """Sell tickets and wait until the scan service has replicated them."""
    shop = testbed.client("service", "shop")

    def buy(quantity: int) -> Sequence[ticket_pb2.Ticket]:
        return shop.ask(shop.purchases.PurchaseTickets, purchase_request(event, quantity)).purchase.tickets

    quantities = [min(TICKETS_IN_A_PURCHASE, count - sold) for sold in range(0, count, TICKETS_IN_A_PURCHASE)]
    with ThreadPoolExecutor(SELLERS) as sellers:
        tickets = [ticket for bought in sellers.map(buy, quantities) for ticket in bought]
    wait_for_replica(testbed, event.event_id, count)
    return tickets


def wait_for_replica(testbed: Testbed, event_id: str, count: int) -> None:
    """Wait until the scan database has `count` tickets of an event, for at most START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    statement = f"SELECT count(*) FROM tickets WHERE event_id = '{uuid.UUID(event_id)}' AND known"  # noqa: S608 - a UUID
    while testbed.query("scans", statement) != [(count,)]:
        if time.monotonic() > deadline:
            raise NotReadyError(f"the scan service did not replicate {count} tickets in {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
