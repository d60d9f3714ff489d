"""Shops and gates that repeat every call until it is answered, and the record of their answers outside the databases.

A repetition has the id of the first try and waits as the service advises. So a failover costs time, and nothing else.
"""

import asyncio
import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from benchmarks.testbed import Testbed, publish, purchase_request
from ticketing.scans.v1 import scan_pb2, scan_service_pb2, scan_service_pb2_grpc
from ticketing.tickets.v1 import purchase_service_pb2_grpc, ticket_pb2

SHOPS: Final = 8
GATES: Final = 8
# Each event is sold out after some seconds, so that last places are sold during failovers too.
PLACES: Final = 300
CALL_SECONDS: Final = 5.0
# Without advice, a client waits for up to this time.
RETRY_SECONDS: Final = 0.5
# The pause of a shop or a gate between two persons.
PAUSE_SECONDS: Final = 0.05
# A gate scans each ticket a second time at once with this probability, which has to be denied.
SECOND_SCANS: Final = 0.2
RETRIED: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)


class Work(StrEnum):
    """The kind of an answer."""

    SALE = "sales"
    SCAN = "scans"


@dataclass
class Record:
    """The acknowledged answers, also as lines of a file: the databases are compared with them."""

    path: Path
    # The ticket ids by event and purchase, and the verdicts by scan.
    purchases: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    verdicts: dict[str, tuple[str, int]] = field(default_factory=dict)
    sold_out: set[str] = field(default_factory=set)
    # The times of the answers, and the longest time that one caller waited for one.
    times: dict[Work, list[float]] = field(default_factory=lambda: defaultdict(list))
    waits: dict[Work, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    failures: Counter[str] = field(default_factory=Counter)

    def sold(self, event_id: str, purchase_id: str, tickets: Sequence[ticket_pb2.Ticket], begin: float) -> None:
        """Record a completed purchase."""
        self.purchases[event_id, purchase_id] = frozenset(ticket.ticket_id for ticket in tickets)
        self._answered(Work.SALE, begin, event=event_id, purchase=purchase_id, tickets=[t.ticket_id for t in tickets])

    def scanned(self, scan: scan_pb2.Scan, ticket_id: str, begin: float) -> None:
        """Record a verdict."""
        self.verdicts[scan.scan_id] = (ticket_id, scan.verdict)
        self._answered(Work.SCAN, begin, scan=scan.scan_id, ticket=ticket_id, verdict=scan.verdict)

    def _answered(self, work: Work, begin: float, **line: object) -> None:
        now = time.monotonic()
        self.times[work].append(now)
        self.waits[work].append((now, now - begin))
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def gap(self, work: Work, since: float) -> float:
        """Return the longest time without any answer after `since`."""
        times = [since, *(answer for answer in self.times[work] if answer > since), time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(times))

    def longest_wait(self, work: Work, since: float) -> float:
        """Return the longest wait of one caller for an answer after `since`."""
        return max((wait for answer, wait in self.waits[work] if answer > since), default=0.0)


class Clients:
    """Shops that sell event after event, and gates that admit the guests of one event, in a thread of their own."""

    def __init__(self, testbed: Testbed, record: Record, seed: int) -> None:
        self.record = record
        self._random = random.Random(seed)  # noqa: S311 - repeatable load
        self._tickets, self._scans = ("{}:{}".format(*testbed.address(prefix)) for prefix in ("TICKETS", "SCANS"))
        self._shop, self._door = testbed.metadata("service", "shop"), testbed.metadata("scanner", "door")
        self._testbed = testbed
        self._event = publish(testbed, PLACES)
        self._visited = publish(testbed)
        # The tickets of the visited event, which shops sell as well.
        self._queue = asyncio.Queue[ticket_pb2.Ticket]()
        self._ended = set[str]()
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sell and scan during the block, until its end or `stop`."""
        self._running = self._threads.submit(lambda: asyncio.run(self._run()))
        try:
            yield
        finally:
            self.stop()
            self._threads.shutdown()

    def check(self) -> None:
        """Raise the error that ended the clients, if one did."""
        if self._running is not None and self._running.done():
            self._running.result()

    def stop(self) -> None:
        """Wait for the answers of all calls; raise the first error that a repetition would not help."""
        self._stopped.set()
        if self._running is not None:
            self._running.result()

    async def _run(self) -> None:
        async with grpc.aio.insecure_channel(self._tickets) as channel:
            # The stubs' types know channels that block.
            stub: Any = purchase_service_pb2_grpc.PurchaseServiceStub(channel)
            async with asyncio.TaskGroup() as group:
                for number in range(SHOPS):
                    group.create_task(self._sell(stub, for_gates=number == 0))
                for number in range(GATES):
                    group.create_task(self._admit(f"gate {number}"))

    async def _sell(self, stub: Any, *, for_gates: bool) -> None:
        while not self._stopped.is_set():
            event = self._visited if for_gates else self._event
            request = purchase_request(event, GATES if for_gates else 1)
            begin = time.monotonic()
            while not self._stopped.is_set():
                try:
                    answer = await stub.PurchaseTickets(request, metadata=self._shop, timeout=CALL_SECONDS)
                except grpc.aio.AioRpcError as error:
                    if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                        self.record.sold_out.add(event.event_id)
                        await self._next_event(event.event_id)
                        break
                    if error.code() == grpc.StatusCode.NOT_FOUND and not for_gates:
                        # Only an asynchronous promotion loses an event, and only the latest.
                        self.record.failures["the event was lost"] += 1
                        await self._next_event(event.event_id)
                        break
                    await self._wait(error)
                    continue
                self.record.sold(event.event_id, answer.purchase.purchase_id, answer.purchase.tickets, begin)
                if for_gates:
                    for ticket in answer.purchase.tickets:
                        self._queue.put_nowait(ticket)
                break
            await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_SECONDS))

    async def _next_event(self, ended: str) -> None:
        """Publish the next event, unless another shop has done so."""
        if ended in self._ended:
            return
        self._ended.add(ended)
        while not self._stopped.is_set():
            try:
                self._event = await asyncio.to_thread(publish, self._testbed, PLACES)
            except grpc.RpcError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _admit(self, location: str) -> None:
        while not self._stopped.is_set():
            try:
                async with asyncio.timeout(1):
                    ticket = await self._queue.get()
            except TimeoutError:
                continue
            scans = 2 if self._random.random() < SECOND_SCANS else 1
            for _ in range(scans):
                await self._scan(location, ticket)
            await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_SECONDS))

    async def _scan(self, location: str, ticket: ticket_pb2.Ticket) -> None:
        """Scan a ticket until there is a verdict, each time over a new stream."""
        attempt = scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=ticket.token)
        begin = time.monotonic()
        while not self._stopped.is_set():
            try:
                async with grpc.aio.insecure_channel(self._scans) as channel:
                    stub = scan_service_pb2_grpc.ScanServiceStub(channel)
                    stream: Any = stub.StreamScans(metadata=self._door)
                    gate = scan_pb2.Gate(event_id=self._visited.event_id, location=location)
                    await self._ask(stream, scan_service_pb2.StreamScansRequest(open=gate))
                    answer = await self._ask(stream, scan_service_pb2.StreamScansRequest(scan=attempt))
            except grpc.aio.AioRpcError as error:
                await self._wait(error)
                continue
            except (asyncio.InvalidStateError, TimeoutError):
                self.record.failures["the gate's own deadline"] += 1
                continue
            if answer is not grpc.aio.EOF and answer.HasField("result"):
                self.record.scanned(answer.result, ticket.ticket_id, begin)
                return
            self.record.failures["the scan was not accepted"] += 1
            await asyncio.sleep(self._random.uniform(0, RETRY_SECONDS))

    async def _ask(self, stream: Any, request: scan_service_pb2.StreamScansRequest) -> Any:
        async with asyncio.timeout(CALL_SECONDS):
            await stream.write(request)
            return await stream.read()

    async def _wait(self, error: grpc.aio.AioRpcError) -> None:
        """Wait as the service advises; raise the error if a repetition would not help."""
        if error.code() not in RETRIED:
            raise error
        self.record.failures[error.code().name] += 1
        await asyncio.sleep(self._random.uniform(0, advised_seconds(error) or RETRY_SECONDS))


def advised_seconds(error: grpc.aio.AioRpcError) -> float | None:
    """Return the retry time of an error, if it has one."""
    # The types know calls that block; an AioRpcError has the same methods.
    status = rpc_status.from_call(cast(grpc.Call, error))
    for detail in status.details if status else ():
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def find_losses(testbed: Testbed, record: Record) -> list[str]:
    """Compare the databases with the record; return what was lost, sold twice or admitted twice."""
    return [*_lost_sales(testbed, record), *_lost_scans(testbed, record)]


def _lost_sales(testbed: Testbed, record: Record) -> Iterator[str]:
    stored: dict[tuple[str, str], set[str]] = defaultdict(set)
    query = "SELECT event_id::text, purchase_id::text, ticket_id::text FROM tickets WHERE status = 'ACTIVE'"
    for event_id, purchase_id, ticket_id in testbed.query("tickets", query):
        stored[event_id, purchase_id].add(ticket_id)
    for (event_id, purchase_id), tickets in record.purchases.items():
        if frozenset(stored[event_id, purchase_id]) != tickets:
            yield f"purchase {purchase_id} was acknowledged and is lost"
    counts = Counter[str]()
    for (event_id, _), ticket_ids in stored.items():
        counts[event_id] += len(ticket_ids)
    query = "SELECT event_id::text, max_participants, reserved FROM events"
    for event_id, places, reserved in testbed.query("tickets", query):
        if reserved != counts[event_id] or (places is not None and reserved > places):
            yield f"event {event_id} has {counts[event_id]} tickets and {reserved} reserved places of {places}"
        if event_id in record.sold_out and reserved != places:
            yield f"event {event_id} was answered as sold out at {reserved} of {places} places"


def _lost_scans(testbed: Testbed, record: Record) -> Iterator[str]:
    verdicts = dict(testbed.query("scans", "SELECT scan_id::text, verdict FROM scans"))
    for scan_id, (_, verdict) in record.verdicts.items():
        if verdicts.get(scan_id) != scan_pb2.Verdict.Name(verdict).removeprefix("VERDICT_"):  # type: ignore[arg-type]  # an enum is an int at run time
            yield f"scan {scan_id} was answered and is lost"
    answered = Counter(ticket for ticket, verdict in record.verdicts.values() if verdict == scan_pb2.VERDICT_ADMITTED)
    query = "SELECT ticket_id::text, count(*) FROM scans WHERE verdict = 'ADMITTED' GROUP BY ticket_id"
    for ticket_id, count in [*testbed.query("scans", query), *answered.items()]:
        if count > 1:
            yield f"ticket {ticket_id} was admitted {count} times"
