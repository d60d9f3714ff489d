"""Lists of one user: who has few tickets or purchases waits for nobody's long list, and gets what a long list would have."""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import product
from typing import TypeVar
from uuid import UUID

import pytest

from tests.environment.clock import SettableClock
from tests.selling.rows import change, sold
from ticket_service.domain.calendar_entries import organizer_of
from ticket_service.domain.purchases import PurchaseStatus
from ticket_service.domain.queries import PurchaseQuery, TicketQuery
from ticket_service.domain.tickets import TicketStatus
from ticket_service.store import purchases as store_of_purchases
from ticket_service.store import tickets as store_of_tickets
from ticket_service.use_cases.purchases import Purchases
from ticket_service.use_cases.tickets import Tickets
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.database import READ_THREADS, Database

ALICE = Caller("alice", frozenset({Role.USER}))
SHOP = Caller("shop", frozenset({Role.SERVICE}))
OLGA = Caller("olga", frozenset({Role.ORGANIZER}))
SECONDS = 20
S = TypeVar("S", TicketStatus, PurchaseStatus)


@pytest.fixture
def tickets(database: Database, clock: SettableClock) -> Tickets:
    return Tickets(database, organizer_of("tickets@example.com"), clock)


@pytest.fixture
def purchases(database: Database, clock: SettableClock) -> Purchases:
    return Purchases(database, clock)


def limit_few(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for module in (store_of_tickets, store_of_purchases):
        monkeypatch.setattr(module, "MAX_OF_USER", count)


def filters(statuses: Iterable[S], event_ids: Sequence[UUID]) -> list[tuple[S | None, UUID | None]]:
    wanted: list[tuple[S | None, UUID | None]] = [(None, None)]
    wanted += ((status, None) for status in statuses)
    wanted += ((None, event_id) for event_id in event_ids)
    return wanted


async def sell_all_kinds(database: Database, clock: SettableClock) -> list[UUID]:
    """Sell tickets of every status to alice, and one to bob; return the ids of the events."""
    event, [active, used, cancelled, blocked] = await sold(database, clock, 4)
    await change(database, used, check_in_time=clock())
    await change(database, cancelled, status="CANCELLED")
    await change(database, blocked, status="BLOCKED")
    ended, [expired, _] = await sold(database, clock, 2)
    await change(database, expired, valid_until_time=clock() - timedelta(days=1))
    foreign, _ = await sold(database, clock, organizer_id="oscar")
    await sold(database, clock, user_id="bob")
    assert active
    return [event.event_id, ended.event_id, foreign.event_id]


@pytest.mark.parametrize("caller", [ALICE, SHOP, OLGA])
async def test_few_tickets_are_listed_as_in_a_long_list(
    caller: Caller, tickets: Tickets, database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_ids = await sell_all_kinds(database, clock)
    queries = [
        TicketQuery(status, event_id, user_id)
        for (status, event_id), user_id in product(filters(TicketStatus, event_ids), ("alice", "nobody", ""))
    ]

    async def listed() -> list[list[UUID]]:
        found = [await tickets.list(caller, query, None, 5) for query in queries]
        pages = [
            await tickets.list(caller, TicketQuery(None, None, "alice"), page[-1].ticket.ticket_id, 5)
            for page in found
            if page
        ]
        return [[one.ticket.ticket_id for one in page] for page in (*found, *pages)]

    of_few = await listed()
    limit_few(monkeypatch, 0)
    assert of_few == await listed()
    assert len({tuple(page) for page in of_few}) > 10


@pytest.mark.parametrize("caller", [ALICE, SHOP, OLGA])
async def test_few_purchases_are_listed_as_in_a_long_list(
    caller: Caller, purchases: Purchases, database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_ids = await sell_all_kinds(database, clock)
    queries = [
        PurchaseQuery(event_id, user_id, status=status)
        for (status, event_id), user_id in product(filters(PurchaseStatus, event_ids), ("alice", "nobody", ""))
    ]

    async def listed() -> list[list[UUID]]:
        found = [await purchases.list(caller, query, None, 2) for query in queries]
        pages = [
            await purchases.list(caller, PurchaseQuery(None, "alice"), page[-1].purchase_id, 2)
            for page in found
            if page
        ]
        return [[one.purchase_id for one in page] for page in (*found, *pages)]

    of_few = await listed()
    limit_few(monkeypatch, 0)
    assert of_few == await listed()
    assert len({tuple(page) for page in of_few}) > 3


async def test_a_user_with_few_tickets_waits_for_no_long_list(
    tickets: Tickets, purchases: Purchases, database: Database, clock: SettableClock
) -> None:
    _, [ticket_id] = await sold(database, clock)
    gate, begun = threading.Event(), threading.Semaphore(0)

    def read_long(_: object) -> None:
        begun.release()
        assert gate.wait(SECONDS)

    long_lists = [asyncio.create_task(database.read(read_long)) for _ in range(READ_THREADS)]
    for _ in long_lists:
        assert await asyncio.to_thread(begun.acquire, timeout=SECONDS)
    query, bought = TicketQuery(None, None, ""), PurchaseQuery(None, "")
    async with asyncio.timeout(SECONDS / 2):
        found = await asyncio.gather(*(tickets.list(ALICE, query, None, 100) for _ in range(3)))
        made = await asyncio.gather(*(purchases.list(ALICE, bought, None, 100) for _ in range(3)))
    assert [[one.ticket.ticket_id for one in page] for page in found] == [[ticket_id]] * 3
    assert [len(page) for page in made] == [1] * 3
    gate.set()
    await asyncio.gather(*long_lists)


async def test_one_more_than_few_is_a_long_list(
    tickets: Tickets, purchases: Purchases, database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound cuts no list short."""
    limit_few(monkeypatch, 2)

    async def lengths(user_id: str) -> tuple[int, int]:
        found: Sequence[object] = await tickets.list(SHOP, TicketQuery(None, None, user_id), None, 100)
        made: Sequence[object] = await purchases.list(SHOP, PurchaseQuery(None, user_id), None, 100)
        return len(found), len(made)

    for count in (1, 2, 3, 4):
        await sold(database, clock)
        assert await lengths("alice") == (count, count)
