"""Few places, many buyers, and ticket services that are killed in the middle of it, as the database is once.

The sizes are small so that the suite stays quick; TICKETING_FLASH=full is what is promised, TICKETING_SEED another run.
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
from tests.e2e.crowd import CHANNEL_OPTIONS
from tests.e2e.pair import NewPair, Pair, on_sale
from tests.e2e.rush import COMPLETED, HOLD_SECONDS, Fate, Rush
from tests.environment.databases import connected
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from ticket_service.commands.audit import CLEAN, audit
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2, ticket_service_pb2
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceStub

FULL = os.environ.get("TICKETING_FLASH") == "full"
BUYERS, PLACES, PROCESSES, KILLS, ARRIVAL_SECONDS = (2_000, 200, 4, 12, 8.0) if FULL else (150, 30, 2, 1, 0.3)
SEED = int(os.environ.get("TICKETING_SEED", "1"))
RECOVERY_SECONDS = 30
KILL, CRASH, END = "kill", "crash", "end"


@dataclass
class Fleet:
    """Ticket services on one database, each on a port of its own, and a supervisor that starts again what died."""

    variables: dict[str, str]
    ports: list[str]
    running: dict[str, TicketProcess] = field(default_factory=dict)
    starting: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, port: str) -> None:
        """Start the service on a port."""
        self.running[port] = await asyncio.to_thread(TicketProcess, {**self.variables, "TICKETS_PORT": port})

    async def kill(self, seeds: random.Random) -> None:
        """Kill one that runs, and have it started again."""
        while not self.running:
            await asyncio.wait(self.starting, return_when=asyncio.FIRST_COMPLETED)
        port = seeds.choice(sorted(self.running))
        await asyncio.to_thread(self.running.pop(port).end, signal.SIGKILL)
        self.starting.add(asyncio.create_task(self.start(port)))

    async def started(self) -> None:
        """Wait until all are there."""
        await asyncio.gather(*self.starting)


@pytest.fixture
def new_variables(new_pair: NewPair, tickets_url: URL, scans_url: URL) -> Pair:
    """Give the settings of a pair whose services are not started."""
    return new_pair(tickets_url, scans_url, TICKETS_HOLD_SECONDS=str(HOLD_SECONDS), TICKETS_SWEEP_SECONDS="0.05")


@pytest.fixture
def fleet(new_variables: Pair) -> Iterator[Fleet]:
    """Make a fleet; whatever of it is left is ended."""
    fleet = Fleet(new_variables.variables, [str(port) for port in free_ports(PROCESSES)])
    fleet.variables["TICKETS_PORT"] = fleet.ports[0]
    yield fleet
    for process in fleet.running.values():
        process.end(signal.SIGKILL)


def crash(url: URL) -> None:
    """Kill a backend of PostgreSQL: all others are ended too, and the server recovers from its log."""
    with connected(url) as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'ticket_service sales' LIMIT 1")
        [(pid,)] = cursor.fetchall()
    os.kill(pid, signal.SIGKILL)


async def recovered(url: URL) -> None:
    """Wait until the database takes connections again."""

    def takes_connections() -> bool:
        with suppress(psycopg2.OperationalError), connected(url):
            return True
        return False

    await until(takes_connections, seconds=RECOVERY_SECONDS)


@pytest.mark.timeout(900 if FULL else 120)
async def test_a_flash_sale_sells_every_place_once_and_forgets_nothing_it_has_told(
    new_variables: Pair, fleet: Fleet, tickets_url: URL
) -> None:
    seeds = random.Random(SEED)
    await asyncio.gather(*(fleet.start(port) for port in fleet.ports))
    event = await asyncio.to_thread(on_sale, new_variables.caller("organizer", "olga"), max_participants=PLACES)
    # More of them early, while there is something to sell.
    what_breaks = [*[KILL] * KILLS, CRASH]
    seeds.shuffle(what_breaks)
    moments = sorted(int(BUYERS * seeds.random() ** 2) for _ in what_breaks)
    breaking: asyncio.Queue[str] = asyncio.Queue()

    def on_answer(answers: int) -> None:
        while moments and answers > moments[0]:
            moments.pop(0)
            breaking.put_nowait(what_breaks.pop())

    async def break_things() -> None:
        while (what := await breaking.get()) != END:
            if what == KILL:
                await fleet.kill(seeds)
            else:
                # A service that starts while its database is away would rightly end.
                await fleet.started()
                await asyncio.to_thread(crash, tickets_url)
                await recovered(tickets_url)

    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS))
            for port in fleet.ports
        ]
        services = [PurchaseServiceStub(channel) for channel in channels]
        rush = Rush(services, new_variables.issuer.metadata("service", "shop"), event, seeds, on_answer)

        async def arrive(number: int) -> None:
            await asyncio.sleep(seeds.uniform(0, ARRIVAL_SECONDS))
            await rush.buy(number)

        supervisor = asyncio.create_task(break_things())
        try:
            await asyncio.gather(*(arrive(number) for number in range(BUYERS)))
        finally:
            breaking.put_nowait(END)
            await supervisor
        await fleet.started()
        in_the_rush = await sell_the_rest(rush, new_variables)
        # Whatever was told is read again, and compared by the shop with what it was told first.
        purchases = [await rush.read(purchase_id) for purchase_id in rush.told]
    fates = Counter(fate for _, fate in rush.payments.values())
    print(
        f"seed {SEED}: {BUYERS} buyers, {in_the_rush} of {PLACES} places sold in the rush, {rush.answers} answers, "
        f"{rush.lost} lost ({rush.found} with a sale behind it), {KILLS} kills, 1 crash of the database, payments {dict(fates)}"
    )
    assert rush.lost > 0, "nothing broke: this would show nothing"
    assert not moments, "it ended before everything was broken"
    assert {purchase.payment.payment_id: (purchase.purchase_id, Fate.KEPT) for purchase in purchases} == {
        payment_id: told for payment_id, told in rush.payments.items() if told[1] is Fate.KEPT
    }
    assert {purchase.status for purchase in purchases} == {COMPLETED}
    await asyncio.to_thread(check_books, new_variables, event, rush, fates)
    told: list[str] = []
    assert audit(tickets_url, told.append) == CLEAN, told


async def sell_the_rest(rush: Rush, pair: Pair) -> int:
    """Sell what is left once every hold has ended; return how many were sold before."""
    organizer = pair.caller("organizer", "olga")
    request = event_service_pb2.GetEventRequest(event_id=rush.event.event_id)
    sold = sum(map(len, rush.told.values()))
    async with asyncio.timeout(20):
        while True:
            event = (await asyncio.to_thread(organizer.ask, organizer.events.GetEvent, request)).event
            if event.current_participants == sold:
                break
    for number in range(PLACES - sold):
        assert await rush.buy_one(f"late-{number}")
    assert not await rush.buy_one("too late")
    return sold


def check_books(pair: Pair, event: event_pb2.Event, rush: Rush, fates: Counter[Fate]) -> None:
    """Every place is somebody's ticket who was told of it, and what is owed is known."""
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
    assert {ticket.ticket_id for ticket in tickets} == frozenset().union(*rush.told.values())
    sales_request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
    sales = organizer.ask(organizer.events.GetEventSales, sales_request)
    assert (sales.refunds_pending, sales.refunds_failed) == (fates[Fate.OWED], 0)
    assert sum(line.paid.minor_units for line in sales.lines) == PLACES * event.ticket_price.minor_units
    assert fates[Fate.TAKEN] == 0
