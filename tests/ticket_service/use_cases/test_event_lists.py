"""Lists of the events that everybody may see: calls that arrive together share one read, and a long list waits alone."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.environment.clock import SettableClock
from tests.selling.rows import CHANGE_RULES, store_event
from ticket_service.domain.events import Event, EventStatus, EventType
from ticket_service.domain.queries import EventQuery
from ticket_service.store import events as store
from ticket_service.store.tables import events as table
from ticket_service.use_cases import events as use_cases
from ticket_service.use_cases.events import Events
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.database import Database

PUBLISHED = EventQuery(EventStatus.PUBLISHED, None, None)
CALLERS = [Caller("alice", frozenset({Role.USER})), Caller("shop", frozenset({Role.SERVICE}))]
OSCAR = Caller("oscar", frozenset({Role.ORGANIZER}))


@pytest.fixture
async def events(database: Database, clock: SettableClock) -> Events:
    await database.run(lambda connection: connection.execute(sa.text("TRUNCATE events CASCADE")))
    return Events(database, CHANGE_RULES, {}, clock, lambda: None)


async def store_all_kinds(database: Database, clock: SettableClock) -> list[UUID]:
    """Store three events on sale and events that no list of them shows; return the ids of the first, by their start."""
    kinds: list[dict[str, Any]] = [
        {"starts_in": timedelta(days=3)},
        {"starts_in": timedelta(days=1), "event_type": EventType.CONFERENCE},
        {"starts_in": timedelta(days=2), "organizer_id": "oscar"},
        {"status": EventStatus.DRAFT, "organizer_id": "oscar"},
        {"status": EventStatus.CANCELLED},
        {"starts_in": timedelta(days=-5)},
    ]

    def work(connection: Connection) -> list[Event]:
        return [store_event(connection, now=clock(), **kind) for kind in kinds]

    stored = await database.run(work)
    return [event.event_id for event in sorted(stored[:3], key=lambda event: event.start_time)]


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_short_list_is_that_of_the_pool_of_lists(
    caller: Caller, events: Events, database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, last = await store_all_kinds(database, clock)
    queries = [
        PUBLISHED,
        EventQuery(EventStatus.PUBLISHED, EventType.CONFERENCE, None),
        EventQuery(EventStatus.PUBLISHED, None, clock() + timedelta(days=2)),
    ]

    async def listed() -> list[list[UUID]]:
        whole = await events.list(caller, PUBLISHED, None, 100)
        pages = [await events.list(caller, PUBLISHED, (event.start_time, event.event_id), 1) for event in whole]
        lists = [await events.list(caller, query, None, 100) for query in queries]
        return [[event.event_id for event in page] for page in (*pages, *lists)]

    short = await listed()
    assert short == [[second], [last], [], [first, second, last], [first], [second, last]]
    monkeypatch.setattr(use_cases, "MAX_FEW", 0)
    assert await listed() == short


async def test_an_organizer_lists_own_drafts_beside_the_lists_of_others(
    events: Events, database: Database, clock: SettableClock
) -> None:
    await store_all_kinds(database, clock)
    drafts = EventQuery(EventStatus.DRAFT, None, None)
    lists = [events.list(caller, PUBLISHED, None, 100) for caller in CALLERS] + [events.list(OSCAR, drafts, None, 100)]
    assert [len(found) for found in await asyncio.gather(*lists)] == [3, 3, 1]


async def test_calls_that_arrive_together_share_one_read(
    events: Events, database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_all_kinds(database, clock)
    reads, list_events = list[EventQuery](), store.list_events

    def counted(connection, caller, query, now, page):
        reads.append(query)
        return list_events(connection, caller, query, now, page)

    monkeypatch.setattr(store, "list_events", counted)
    found = await asyncio.gather(*(events.list(caller, PUBLISHED, None, 100) for caller in CALLERS * 10))
    assert {len(one) for one in found} == {3}
    assert reads == [PUBLISHED]


async def test_a_new_event_is_in_the_next_list(events: Events, database: Database, clock: SettableClock) -> None:
    """Nothing is kept from one read to the next."""
    lengths = []
    for _ in range(3):
        await database.run(lambda connection: store_event(connection, now=clock()))
        lengths.append(len(await events.list(CALLERS[0], PUBLISHED, None, 100)))
    assert lengths == [1, 2, 3]


async def test_more_events_than_a_short_list_are_all_listed(
    events: Events, database: Database, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_cases, "MAX_FEW", 2)
    await store_all_kinds(database, clock)
    found = await events.list(CALLERS[0], PUBLISHED, None, 100)
    assert len(found) == 3
    assert all(one.start_time < other.start_time for one, other in pairwise(found))
    stored = sa.select(sa.func.count()).select_from(table)
    assert await database.run(lambda connection: connection.execute(stored).scalar_one()) == 6
