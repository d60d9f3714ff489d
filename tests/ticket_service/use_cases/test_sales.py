"""Sales with many concurrent buyers, with several processes, and with a killed process."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc.aio
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.databases import read_value
from tests.environment.refusals import Refusal, refusal, refusal_of
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.selling.shop import Shop, money, new_id
from ticket_service import app
from ticket_service.store import known_events
from ticket_service.store.tables import events, purchases, tickets
from ticketing.tickets.v1 import event_pb2, purchase_pb2

BUYERS = 64
PLACES = 50
COUNTED = "locked_events", {"batcher": "purchases"}
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '% sales'"


def query(url: URL, statement: sa.Select[Any]) -> list[Any]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return list(connection.execute(statement))


async def try_to_buy(shop: Shop, event_id: str, user: str) -> purchase_pb2.Purchase | Refusal:
    try:
        return await shop.buy(event_id, ("user", user))
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


def assert_exactly_the_places_are_sold(answers: list[purchase_pb2.Purchase | Refusal], url: URL) -> None:
    sold = [answer for answer in answers if isinstance(answer, purchase_pb2.Purchase)]
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(sold) == PLACES
    assert [answer.reason for answer in refused] == ["SOLD_OUT"] * (BUYERS - PLACES)
    rows = query(url, sa.select(tickets.c.ticket_id, tickets.c.revision))
    assert {str(row.ticket_id) for row in rows} == {t.ticket_id for p in sold for t in p.tickets}
    (event,) = query(url, sa.select(events.c.reserved, events.c.revision))
    assert event.reserved == PLACES
    # Every ticket has its own revision and none is skipped; the event itself has taken 1 and 2.
    assert sorted(row.revision for row in rows) == list(range(3, event.revision + 1))


async def test_14_of_64_buyers_for_50_places_get_sold_out(shop, tickets_url):
    event = await shop.on_sale(max_participants=PLACES)
    answers = await asyncio.gather(*(try_to_buy(shop, event.event_id, f"user-{n}") for n in range(BUYERS)))
    assert_exactly_the_places_are_sold(answers, tickets_url)


async def test_a_sale_follows_each_change_of_its_event_at_once(shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_events, "KEPT_SECONDS", 3_600)
    event = await shop.on_sale(max_participants=5)
    for places in (1, 2, 3):
        event = await shop.update(event_pb2.Event(event_id=event.event_id, max_participants=places), "max_participants")
        await shop.buy(event.event_id)
        assert (await refusal(shop.buy(event.event_id))).reason == "SOLD_OUT"


Start = Callable[[], TicketProcess]


@pytest.fixture
def start(environment_of: Callable[..., dict[str, str]], tickets_url: URL) -> Iterator[Start]:
    """Start services on one database; they are ended after the test."""
    variables = environment_of(TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False))
    with ExitStack() as running:
        yield lambda: running.enter_context(TicketProcess(variables))


Open = Callable[[TicketProcess], Shop]


@pytest.fixture
async def open_shop(issuer: Issuer) -> AsyncIterator[Open]:
    """Open a shop at a process."""
    channels: list[grpc.aio.Channel] = []

    def open_(process: TicketProcess) -> Shop:
        channels.append(grpc.aio.insecure_channel(process.address))
        return Shop(channels[-1], issuer)

    yield open_
    for channel in channels:
        await channel.close()


@pytest.mark.slow
async def test_two_processes_sell_no_place_twice(start: Start, open_shop: Open, tickets_url):
    shops = [open_shop(start()), open_shop(start())]
    event = await shops[0].on_sale(max_participants=PLACES)
    buying = (try_to_buy(shops[n % 2], event.event_id, f"user-{n}") for n in range(BUYERS))
    assert_exactly_the_places_are_sold(await asyncio.gather(*buying), tickets_url)


@pytest.mark.slow
async def test_a_request_sent_to_two_processes_buys_once(start: Start, open_shop: Open, tickets_url):
    shops = [open_shop(start()), open_shop(start())]
    all_events = [await shops[0].on_sale(ticket_price=money(100)) for _ in range(8)]

    async def both(number: int) -> set[str]:
        request: dict[str, Any] = {
            "request_id": new_id(),
            "external_payment_id": f"payment-{number}",
            "expected_total": money(100),
        }
        event_id = all_events[number % 8].event_id
        answers = await asyncio.gather(*(shop.buy(event_id, Shop.BACKEND, **request) for shop in shops))
        return {answer.purchase_id for answer in answers}

    bought = await asyncio.gather(*(both(number) for number in range(40)))
    assert all(len(answers) == 1 for answers in bought)
    assert len(query(tickets_url, sa.select(purchases.c.purchase_id))) == 40


@pytest.mark.slow
async def test_one_payment_sent_for_two_events_pays_one(start: Start, open_shop: Open):
    shops = [open_shop(start()), open_shop(start())]
    all_events = [await shop.on_sale(ticket_price=money(100)) for shop in shops]

    async def pay(number: int, payment: int) -> str:
        paid: dict[str, Any] = {"external_payment_id": f"payment-{payment}", "expected_total": money(100)}
        try:
            await shops[number].buy(all_events[number].event_id, Shop.BACKEND, **paid)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error).reason
        return "paid"

    pairs = [asyncio.gather(pay(0, payment), pay(1, payment)) for payment in range(20)]
    for answers in await asyncio.gather(*pairs):
        assert sorted(answers) == ["PAYMENT_ALREADY_USED", "paid"]


@pytest.mark.slow
async def test_acknowledged_sales_survive_a_killed_process(start: Start, open_shop: Open, tickets_url):
    process = start()
    shop = open_shop(process)
    event = await shop.on_sale()
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def buy_on(user: str) -> None:
        while True:
            try:
                acknowledged.append((await shop.buy(event.event_id, ("user", user))).purchase_id)
            except grpc.aio.AioRpcError:
                return
            if len(acknowledged) >= 40:
                enough.set()

    buying = [asyncio.create_task(buy_on(f"user-{n}")) for n in range(8)]
    await enough.wait()
    process.end(signal.SIGKILL)
    await asyncio.gather(*buying)
    stored = {str(row.purchase_id) for row in query(tickets_url, sa.select(purchases.c.purchase_id))}
    assert set(acknowledged) <= stored
    (counted,) = query(tickets_url, sa.select(events.c.reserved))
    assert counted.reserved == len(query(tickets_url, sa.select(tickets.c.ticket_id)))
    again = open_shop(start())
    assert (await again.buy(event.event_id)).tickets


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for a row lock."""
    monkeypatch.setitem(app.SALES_LOCK_MILLISECONDS, "lock_timeout", 200)


@pytest.mark.usefixtures("impatient")
async def test_a_locked_event_does_not_delay_sales_of_others(shop, tickets_url, caplog):
    locked, other, draft = await shop.on_sale(), await shop.on_sale(), await shop.create()
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        of_another = events.c.event_id.in_([locked.event_id, draft.event_id])
        connection.execute(sa.select(events.c.name).where(of_another).with_for_update())
        for attempt in range(2):
            buying = asyncio.gather(
                *(try_to_buy(shop, event.event_id, f"user-{n}") for n in range(10) for event in (locked, other))
            )
            while attempt and not buying.done():
                # Only the first batch waited for the lock.
                assert read_value(tickets_url, WAITS) == 0
                await asyncio.sleep(0)
            answers = await buying
            refused = [answer.reason for answer in answers[::2] if isinstance(answer, Refusal)]
            assert refused == ["OVERLOADED"] * 10
            assert all(isinstance(answer, purchase_pb2.Purchase) and answer.tickets for answer in answers[1::2])
        assert caplog.text.count("are locked by another transaction") == 1
        assert REGISTRY.get_sample_value(*COUNTED) == 1
        # A buyer does not find an event that they may not see, locked or not.
        for event_id in (draft.event_id, new_id()):
            assert (await refusal(shop.buy(event_id, ("user", "uma")))).reason == "EVENT_NOT_FOUND"
    answers = await asyncio.gather(*(shop.buy(event.event_id) for _ in range(5) for event in (locked, other)))
    assert all(answer.tickets for answer in answers)
    # The metric has an event until the next order for it, for a minute at most.
    assert (await refusal(shop.buy(draft.event_id, ("user", "uma")))).reason == "EVENT_NOT_FOUND"
    assert REGISTRY.get_sample_value(*COUNTED) == 0


async def test_a_short_lock_is_waited_for_beside_a_locked_event(shop, tickets_url):
    locked, busy = await shop.on_sale(), await shop.on_sale()
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        lock = sa.select(events.c.name).with_for_update()
        connection.execute(lock.where(events.c.event_id == locked.event_id))
        assert isinstance(await try_to_buy(shop, locked.event_id, "uma"), Refusal)
        with engine.begin() as other:
            other.execute(lock.where(events.c.event_id == busy.event_id))
            # The first order is a batch of its own, and the others wait together.
            events_of_batches = (locked, *[busy, locked] * 4)
            buying = [asyncio.create_task(try_to_buy(shop, event.event_id, "uma")) for event in events_of_batches]
            await until(lambda: read_value(tickets_url, WAITS), 1)
        answers = await asyncio.gather(*buying)
        assert all(isinstance(answer, purchase_pb2.Purchase) for answer in answers[1::2])
        assert all(isinstance(answer, Refusal) for answer in answers[::2])


async def test_sales_continue_after_their_connection_was_cut(shop, tickets_url):
    event = await shop.on_sale()
    await shop.buy(event.event_id)
    cut = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% sales'")
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        assert connection.execute(cut).all() == [(True,)]
    answers = await asyncio.gather(*(shop.buy(event.event_id) for _ in range(10)))
    assert len({answer.purchase_id for answer in answers}) == 10
