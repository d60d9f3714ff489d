"""Many buyers compete for few places while ticket services are killed and the database crashes once.

The default sizes keep the suite quick; TICKETING_FLASH=full runs the sizes that the documentation promises, and
TICKETING_SEED another sequence.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import grpc.aio
import psycopg2
import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.e2e.retrying_devices import CHANNEL_OPTIONS
from tests.e2e.retrying_shop import COMPLETED, HOLD_SECONDS, PaymentOutcome, RetryingShop
from tests.e2e.service_pair import NewServicePair, ServicePair, on_sale
from tests.environment.databases import connected
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from ticket_service.commands.audit import CLEAN, audit
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2, ticket_service_pb2
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceStub

pytestmark = pytest.mark.slow

FULL = os.environ.get("TICKETING_FLASH") == "full"
BUYERS, PLACES, PROCESSES, KILLS, ARRIVAL_SECONDS = (2_000, 200, 4, 12, 8.0) if FULL else (150, 30, 2, 1, 0.3)
SEED = int(os.environ.get("TICKETING_SEED", "1"))
RECOVERY_SECONDS = 30
KILL, CRASH, END = "kill", "crash", "end"


@dataclass
class Fleet:
    """Ticket services on one database, each on its own port, and a supervisor that restarts them."""

    variables: dict[str, str]
    ports: list[str]
    running: dict[str, TicketProcess] = field(default_factory=dict)
    starting: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, port: str) -> None:
        self.running[port] = await asyncio.to_thread(TicketProcess, {**self.variables, "TICKETS_PORT": port})

    async def kill(self, seeds: random.Random) -> None:
        """Kill a running service and restart it in a task."""
        while not self.running:
            await asyncio.wait(self.starting, return_when=asyncio.FIRST_COMPLETED)
        port = seeds.choice(sorted(self.running))
        await asyncio.to_thread(self.running.pop(port).end, signal.SIGKILL)
        self.starting.add(asyncio.create_task(self.start(port)))

    async def started(self) -> None:
        await asyncio.gather(*self.starting)


@pytest.fixture
def stopped_pair(new_pair: NewServicePair, tickets_url: URL, scans_url: URL) -> ServicePair:
    """Make a pair of services without starting them."""
    return new_pair(tickets_url, scans_url, TICKETS_HOLD_SECONDS=str(HOLD_SECONDS), TICKETS_SWEEP_SECONDS="0.1")


@pytest.fixture
def fleet(stopped_pair: ServicePair) -> Iterator[Fleet]:
    """Make a fleet; the teardown kills its processes."""
    fleet = Fleet(stopped_pair.variables, [str(port) for port in free_ports(PROCESSES)])
    fleet.variables["TICKETS_PORT"] = fleet.ports[0]
    yield fleet
    for process in fleet.running.values():
        process.end(signal.SIGKILL)


def crash(url: URL) -> None:
    """Kill a backend of PostgreSQL: the server ends all others too and recovers from its log."""
    with connected(url) as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'ticket_service sales' LIMIT 1")
        [(pid,)] = cursor.fetchall()
    os.kill(pid, signal.SIGKILL)


async def recovered(url: URL) -> None:
    """Wait until the database accepts connections again."""

    def takes_connections() -> bool:
        with suppress(psycopg2.OperationalError), connected(url):
            return True
        return False

    await until(takes_connections, seconds=RECOVERY_SECONDS)


@pytest.mark.timeout(900 if FULL else 120)
async def test_a_flash_sale_sells_each_place_once_and_keeps_every_answer(
    stopped_pair: ServicePair, fleet: Fleet, tickets_url: URL
) -> None:
    seeds = random.Random(SEED)
    await asyncio.gather(*(fleet.start(port) for port in fleet.ports))
    event = await asyncio.to_thread(on_sale, stopped_pair.caller("organizer", "olga"), max_participants=PLACES)
    # Most faults come early, while places are left.
    faults = [*[KILL] * KILLS, CRASH]
    seeds.shuffle(faults)
    moments = sorted(int(BUYERS * seeds.random() ** 2) for _ in faults)
    due_faults: asyncio.Queue[str] = asyncio.Queue()

    def on_answer(answers: int) -> None:
        while moments and answers > moments[0]:
            moments.pop(0)
            due_faults.put_nowait(faults.pop())

    async def cause_faults() -> None:
        while (fault := await due_faults.get()) != END:
            if fault == KILL:
                await fleet.kill(seeds)
            else:
                # A service that starts while its database is down ends.
                await fleet.started()
                await asyncio.to_thread(crash, tickets_url)
                await recovered(tickets_url)

    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS))
            for port in fleet.ports
        ]
        services = [PurchaseServiceStub(channel) for channel in channels]
        shop = RetryingShop(services, stopped_pair.issuer.metadata("service", "shop"), event, seeds, on_answer)

        async def arrive(number: int) -> None:
            await asyncio.sleep(seeds.uniform(0, ARRIVAL_SECONDS))
            await shop.buy(number)

        supervisor = asyncio.create_task(cause_faults())
        try:
            await asyncio.gather(*(arrive(number) for number in range(BUYERS)))
        finally:
            due_faults.put_nowait(END)
            await supervisor
        await fleet.started()
        sold_early = await sell_the_rest(shop, stopped_pair)
        # The shop compares each answer with the first one for the purchase.
        purchases = [await shop.read(purchase_id) for purchase_id in shop.completed]
    outcomes = Counter(outcome for _, outcome in shop.payments.values())
    print(
        f"seed {SEED}: {BUYERS} buyers, {sold_early} of {PLACES} places sold before the rest, {shop.answers} answers, "
        f"{shop.lost} lost ({shop.found} with a sale behind it), {KILLS} kills, 1 crash of the database, payments {dict(outcomes)}"
    )
    assert shop.lost > 0, "no answer was lost: the test shows nothing"
    assert not moments, "the sale ended before every fault"
    assert {purchase.payment.payment_id: (purchase.purchase_id, PaymentOutcome.KEPT) for purchase in purchases} == {
        payment_id: payment for payment_id, payment in shop.payments.items() if payment[1] is PaymentOutcome.KEPT
    }
    assert {purchase.status for purchase in purchases} == {COMPLETED}
    await asyncio.to_thread(check_sales, stopped_pair, event, shop, outcomes)
    findings: list[str] = []
    assert audit(tickets_url, findings.append) == CLEAN, findings


async def sell_the_rest(shop: RetryingShop, pair: ServicePair) -> int:
    """Sell the remaining places once every hold has ended; return how many were sold before."""
    organizer = pair.caller("organizer", "olga")
    request = event_service_pb2.GetEventRequest(event_id=shop.event.event_id)
    sold = sum(map(len, shop.completed.values()))

    async def reserved() -> int:
        return (await asyncio.to_thread(organizer.ask, organizer.events.GetEvent, request)).event.current_participants

    await until(reserved, sold)
    for number in range(PLACES - sold):
        assert await shop.buy_one(f"late-{number}")
    assert not await shop.buy_one("too late")
    return sold


def check_sales(
    pair: ServicePair, event: event_pb2.Event, shop: RetryingShop, outcomes: Counter[PaymentOutcome]
) -> None:
    """Check that each place is one ticket of a completed purchase, and that the due refunds are known."""
    organizer = pair.caller("organizer", "olga")
    tickets: list[ticket_pb2.Ticket] = []
    request = ticket_service_pb2.ListTicketsRequest(event_id=event.event_id, page_size=100)
    while True:
        page = organizer.ask(organizer.tickets.ListTickets, request)
        tickets += page.tickets
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert len(tickets) == PLACES
    assert {ticket.ticket_id for ticket in tickets} == frozenset().union(*shop.completed.values())
    sales_request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
    sales = organizer.ask(organizer.events.GetEventSales, sales_request)
    assert (sales.refunds_pending, sales.refunds_failed) == (outcomes[PaymentOutcome.REFUND_DUE], 0)
    assert sum(line.paid.minor_units for line in sales.lines) == PLACES * event.ticket_price.minor_units
    assert outcomes[PaymentOutcome.CAPTURED] == 0
