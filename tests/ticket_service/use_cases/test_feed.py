import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.engine import Connection

from tests.environment.waiting import until
from tests.selling.rows import sell, store_event
from ticket_service.domain.events import Event
from ticket_service.domain.feed import Page
from ticket_service.store import feed as store
from ticket_service.store.tables import events, feed, tickets
from ticket_service.use_cases import feed as module
from ticket_service.use_cases.feed import Feed
from ticket_service.use_cases.recovery_guard import RecoveryGuard
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.tasks import Tasks

Pages = AsyncGenerator[tuple[str, Sequence[Page]], None]


async def opened_guard(database: Database, clock: Clock) -> RecoveryGuard:
    guard = RecoveryGuard(database, clock)
    await guard.sweep()
    return guard


@pytest.fixture
async def the_feed(database: Database, clock: Clock) -> AsyncIterator[Feed]:
    feed = Feed(database, clock, await opened_guard(database, clock))
    feed.start(Tasks())
    yield feed
    await feed.stop()


@pytest.fixture
async def epoch(database: Database) -> str:
    return await database.run(store.epoch)


async def take(pages: Pages, count: int) -> list[Page]:
    async with asyncio.timeout(20):
        return [page for _ in range(count) for page in (await anext(pages))[1]]


async def new_event(database: Database, clock: Clock, **wanted: Any) -> Event:
    return await database.run(lambda connection: store_event(connection, now=clock(), **wanted))


async def test_a_watcher_gets_every_event_ticket_and_the_epoch(the_feed, database, clock, epoch):
    event = await new_event(database, clock)
    ticket_ids = await database.run(lambda connection: sell(connection, event, 3))
    async with aclosing(the_feed.watch({}, "")) as pages:
        async with asyncio.timeout(20):
            its_epoch, [page] = await anext(pages)
        assert its_epoch == epoch
        assert page.event.event_id == event.event_id
        assert [UUID(ticket.ticket_id) for ticket in page.tickets] == ticket_ids
        assert [ticket.revision for ticket in page.tickets] == [2, 3, 4]
        assert page.revision == 4


async def test_an_event_without_tickets_is_sent_too(the_feed, database, clock):
    event = await new_event(database, clock)
    async with aclosing(the_feed.watch({}, "")) as pages:
        [page] = await take(pages, 1)
    assert (page.event.event_id, page.tickets, page.revision) == (event.event_id, (), 1)
    assert page.event.valid_from_time == event.doors_open_time
    assert page.event.valid_until_time == event.end_time
    assert page.event.changed_revision == 1


async def test_a_watcher_continues_from_its_cursor(the_feed, database, clock, epoch):
    event = await new_event(database, clock)
    ticket_ids = await database.run(lambda connection: sell(connection, event, 5))
    async with aclosing(the_feed.watch({event.event_id: 4}, epoch)) as pages:
        [page] = await take(pages, 1)
    assert [UUID(ticket.ticket_id) for ticket in page.tickets] == ticket_ids[3:]
    assert page.revision == 6


@pytest.mark.parametrize("other", ["of a backup", ""])
async def test_a_cursor_of_another_epoch_is_ignored(the_feed, database, clock, other):
    event = await new_event(database, clock)
    await database.run(lambda connection: sell(connection, event, 2))
    async with aclosing(the_feed.watch({event.event_id: 3}, other)) as pages:
        [page] = await take(pages, 1)
    assert len(page.tickets) == 2


async def test_changes_are_polled_and_sent_once(the_feed, database, clock):
    event = await new_event(database, clock)
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 1)
        first = await database.run(lambda connection: sell(connection, event, 1))
        [page] = await take(pages, 1)
        assert [UUID(ticket.ticket_id) for ticket in page.tickets] == first
        second = await database.run(lambda connection: sell(connection, event, 1))
        the_feed.wake()
        [page] = await take(pages, 1)
        assert [UUID(ticket.ticket_id) for ticket in page.tickets] == second


async def test_a_change_of_the_event_alone_is_sent(the_feed, database, clock):
    event = await new_event(database, clock)
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 1)
        change = sa.update(events).values(name="Moved", revision=2, changed_revision=2)
        await database.run(lambda connection: connection.execute(change))
        [page] = await take(pages, 1)
    assert (page.event.event_id, page.event.name, page.event.changed_revision) == (event.event_id, "Moved", 2)
    assert (page.tickets, page.revision) == ((), 2)


async def test_an_event_published_later_is_sent(the_feed, database, clock):
    async with aclosing(the_feed.watch({}, "")) as pages:
        coming = asyncio.ensure_future(anext(pages))
        event = await new_event(database, clock)
        async with asyncio.timeout(20):
            _, [page] = await coming
    assert page.event.event_id == event.event_id


async def test_a_cut_page_is_continued_by_the_next(the_feed, database, clock):
    event = await new_event(database, clock)
    ticket_ids = await database.run(lambda connection: sell(connection, event, 2_500))
    async with aclosing(the_feed.watch({}, "")) as pages:
        got = await take(pages, 3)
    assert [len(page.tickets) for page in got] == [1_000, 1_000, 500]
    assert [page.revision for page in got] == [1_001, 2_001, 2_501]
    assert [UUID(ticket.ticket_id) for page in got for ticket in page.tickets] == ticket_ids


async def test_a_full_page_is_followed_by_no_empty_one(the_feed, database, clock):
    event = await new_event(database, clock)
    await database.run(lambda connection: sell(connection, event, 1_000))
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 1)
        ticket_ids = await database.run(lambda connection: sell(connection, event, 1))
        [page] = await take(pages, 1)
    assert [UUID(ticket.ticket_id) for ticket in page.tickets] == ticket_ids


async def test_an_event_ended_long_ago_is_sent_if_named_and_changed(the_feed, database, clock, epoch):
    over = timedelta(days=-2)
    unnamed, named, changed = [await new_event(database, clock, starts_in=over) for _ in range(3)]
    live = await new_event(database, clock, starts_in=timedelta(hours=-20))
    await database.run(lambda connection: sell(connection, changed, 1))
    cursors = {named.event_id: 1, changed.event_id: 1}
    async with aclosing(the_feed.watch(cursors, epoch)) as pages:
        got = await take(pages, 2)
        assert {page.event.event_id for page in got} == {changed.event_id, live.event_id}
        assert unnamed.event_id not in {page.event.event_id for page in got}
    async with aclosing(the_feed.watch(cursors | {new_id(): 5}, "of a backup")) as pages:
        got = await take(pages, 3)
    assert {page.event.event_id for page in got} == {named.event_id, changed.event_id, live.event_id}


async def test_an_ended_event_is_sent_again_once_its_times_are_corrected(the_feed, database, clock, epoch):
    event = await new_event(database, clock, starts_in=timedelta(days=-20))
    await database.run(lambda connection: sell(connection, event, 1))
    async with aclosing(the_feed.watch({}, epoch)) as pages:
        coming = asyncio.ensure_future(anext(pages))
        starts = clock() + timedelta(days=1)
        times = {"start_time": starts, "end_time": starts + timedelta(hours=4), "doors_open_time": None}
        corrected = sa.update(events).values(**times, revision=3, changed_revision=3)
        await database.run(lambda connection: connection.execute(corrected))
        async with asyncio.timeout(20):
            _, [page] = await coming
    assert (page.event.valid_until_time, len(page.tickets)) == (starts + timedelta(hours=4), 1)


async def test_a_late_change_of_a_named_ended_event_is_sent(the_feed, database, clock, epoch, monkeypatch):
    monkeypatch.setattr("ticket_service.use_cases.feed.POLLS_PER_FULL_POLL", 2)
    event = await new_event(database, clock, starts_in=timedelta(days=-2))
    async with aclosing(the_feed.watch({event.event_id: 1}, epoch)) as pages:
        coming = asyncio.ensure_future(anext(pages))
        await database.run(lambda connection: sell(connection, event, 1))
        async with asyncio.timeout(20):
            _, [page] = await coming
    assert page.revision == 2


async def test_a_slow_watcher_does_not_delay_others(the_feed, database, clock):
    event = await new_event(database, clock)
    async with aclosing(the_feed.watch({}, "")) as slow, aclosing(the_feed.watch({}, "")) as quick:
        await take(slow, 1)
        await take(quick, 1)
        for _ in range(3):
            await database.run(lambda connection: sell(connection, event, 1))
            [page] = await take(quick, 1)
        assert page.revision == 4
        # The slow watcher gets the present state in one page.
        [page] = await take(slow, 1)
        assert (len(page.tickets), page.revision) == (3, 4)


async def test_the_lag_of_a_follower_is_shown_until_it_has_everything(the_feed, database, clock, monkeypatch):
    def lag() -> list[float | None]:
        names = ("followers", "lag_revisions", "lag_seconds")
        return [REGISTRY.get_sample_value(f"ticketing_feed_{name}") for name in names]

    monkeypatch.setattr(module, "GROUP_EVENTS", 1)
    for _ in range(2):
        event = await new_event(database, clock)
        await database.run(lambda connection, event=event: sell(connection, event, 3))
    assert lag() == [0, 0, 0]
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 1)
        followers, revisions, seconds = lag()
        # The follower has not asked for the second event yet.
        assert (followers, (revisions or 0) >= 3, (seconds or 0) > 0) == (1, True, True)
        await take(pages, 1)
        waiting = asyncio.ensure_future(anext(pages))
        await until(lambda: lag() == [1, 0, 0])
        waiting.cancel()
        await asyncio.wait([waiting])
    assert lag() == [0, 0, 0]


async def test_a_commit_during_the_first_look_is_not_skipped(the_feed, database, clock, epoch, monkeypatch):
    event = await new_event(database, clock)
    look = the_feed._look  # noqa: SLF001 - no other way reaches the moment between two steps
    async with aclosing(the_feed.watch({}, "")) as first:
        await take(first, 1)

        async def look_then_sell(named: object) -> dict[UUID, int]:
            heads = await look(named)
            if isinstance(named, list):
                # The poller has noted the sale for all known watchers before this look returns.
                await database.run(lambda connection: sell(connection, event, 1))
                await take(first, 1)
            return heads

        monkeypatch.setattr(the_feed, "_look", look_then_sell)
        async with aclosing(the_feed.watch({event.event_id: 1}, epoch)) as second:
            [page] = await take(second, 1)
    assert page.revision == 2


async def test_many_events_are_all_sent_once(the_feed, database, clock):
    made = {(await new_event(database, clock)).event_id for _ in range(40)}
    async with aclosing(the_feed.watch({}, "")) as pages:
        got = await take(pages, 40)
    assert {page.event.event_id for page in got} == made


# The events out of five that are read at once, by the bound of tickets.
TOGETHER = {8_000: 5, 10: 1}


@pytest.mark.parametrize("bound", TOGETHER)
async def test_events_with_few_changes_are_read_together(the_feed, database, clock, monkeypatch, bound):
    monkeypatch.setattr("ticket_service.use_cases.feed.GROUP_TICKETS", bound)
    for _ in range(5):
        event = await new_event(database, clock)
        await database.run(partial(sell, event=event, count=5))
    read, groups = the_feed._read, []  # noqa: SLF001 - not visible from outside

    async def note_and_read(behind):
        groups.append(len(behind))
        return await read(behind)

    monkeypatch.setattr(the_feed, "_read", note_and_read)
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 5)
    assert max(groups) == TOGETHER[bound]


async def test_a_change_noted_during_its_read_is_not_read_again(the_feed, database, clock, monkeypatch):
    made = [(await new_event(database, clock)).event_id for _ in range(2)]
    monkeypatch.setattr("ticket_service.use_cases.feed.GROUP_EVENTS", 1)
    read, groups = the_feed._read, []  # noqa: SLF001 - not visible from outside

    async def read_while_polled(behind):
        groups.append(list(behind))
        pages = await read(behind)
        the_feed._heads.clear()  # noqa: SLF001 - as if the poller polled for the first time
        await the_feed._poll(is_full=True)  # noqa: SLF001 - as above
        return pages

    monkeypatch.setattr(the_feed, "_read", read_while_polled)
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 2)
        newer = await new_event(database, clock)
        await take(pages, 1)
    assert groups == [[event_id] for event_id in (*sorted(made), newer.event_id)]


# The numbers of pages sent at once for five events, by the bound.
AT_ONCE = {1: [1, 1, 1, 1, 1], 3: [3, 2], 1_000: [5]}


@pytest.mark.parametrize("bound", AT_ONCE)
async def test_several_events_are_sent_at_once_up_to_the_bound(the_feed, database, clock, bound):
    made = {(await new_event(database, clock)).event_id for _ in range(5)}
    async with aclosing(the_feed.watch({}, "", bound)) as changes, asyncio.timeout(20):
        got = [(await anext(changes))[1] for _ in AT_ONCE[bound]]
    assert [len(pages) for pages in got] == AT_ONCE[bound]
    assert {page.event.event_id for pages in got for page in pages} == made


async def test_the_tickets_sent_at_once_are_bounded(the_feed, database, clock):
    counts = (600, 300, 200)
    for count in counts:
        event = await new_event(database, clock)
        await database.run(partial(sell, event=event, count=count))
    async with aclosing(the_feed.watch({}, "", 1_000)) as changes, asyncio.timeout(20):
        got = [(await anext(changes))[1] for _ in range(2)]
    assert [[len(page.tickets) for page in pages] for pages in got] == [[600, 300], [200]]


async def test_draining_ends_every_stream(the_feed, database, clock):
    await new_event(database, clock)
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 1)
        waiting = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0)
        the_feed.drain()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_draining_ends_a_stream_with_unsent_changes(the_feed, database, clock):
    event = await new_event(database, clock)
    await database.run(lambda connection: sell(connection, event, 1_001))
    async with aclosing(the_feed.watch({}, "")) as pages:
        await take(pages, 1)
        the_feed.drain()
        with pytest.raises(StopAsyncIteration):
            await anext(pages)


async def test_the_poller_survives_an_outage_of_the_database(database, clock, monkeypatch):
    feed = Feed(database, clock, await opened_guard(database, clock))
    event = await new_event(database, clock)
    run, failed = database.run, asyncio.Event()

    async def fail_once(*_args: object, **_kwargs: Any) -> None:
        monkeypatch.setattr(database, "run", run)
        failed.set()
        raise Failure("DEPENDENCY_UNAVAILABLE", "the database did not answer")

    async with aclosing(feed.watch({}, "")) as pages:
        await take(pages, 1)
        monkeypatch.setattr(database, "run", fail_once)
        feed.start(Tasks())
        async with asyncio.timeout(20):
            await failed.wait()
        await database.run(lambda connection: sell(connection, event, 1))
        [page] = await take(pages, 1)
        assert page.revision == 2
    await feed.stop()


def write(database: Database, made: list[Event], seed: int) -> None:
    """Sell and cancel in transactions that stay open for a while after their writes."""
    chance = random.Random(seed)

    def work(connection: Connection) -> None:
        event = chance.choice(made)
        sell(connection, event, chance.randint(1, 3))
        if chance.random() < 0.3:
            revision = sa.select(events.c.revision).where(events.c.event_id == event.event_id).scalar_subquery()
            first = sa.select(tickets.c.ticket_id).where(tickets.c.event_id == event.event_id).limit(1)
            mine = sa.and_(tickets.c.event_id == event.event_id, tickets.c.ticket_id == first.scalar_subquery())
            connection.execute(sa.update(tickets).where(mine).values(status="CANCELLED", revision=revision + 1))
            connection.execute(
                sa.update(events).where(events.c.event_id == event.event_id).values(revision=events.c.revision + 1)
            )
        connection.execute(sa.select(sa.func.pg_sleep(chance.random() * 0.02)))

    for _ in range(25):
        database.run_here(work)


def stored(connection: Connection) -> dict[UUID, int]:
    return {row.ticket_id: row.revision for row in connection.execute(sa.select(tickets))}


def heads(connection: Connection) -> dict[UUID, int]:
    return {row.event_id: row.revision for row in connection.execute(sa.select(events))}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.slow
async def test_no_commit_is_skipped_during_long_transactions(the_feed, database, clock, epoch, seed):
    made = [await new_event(database, clock) for _ in range(3)]
    chance = random.Random(seed)
    cursors: dict[UUID, int] = {}
    seen: dict[UUID, int] = {}

    async def read(count: int) -> None:
        """Read some pages from the cursors on, as a reader whose connection breaks again and again."""
        async with aclosing(the_feed.watch(cursors, epoch)) as pages:
            for page in await take(pages, count):
                seen.update({UUID(ticket.ticket_id): ticket.revision for ticket in page.tickets})
                cursors[page.event.event_id] = page.revision

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, database, made, seed * 100 + number) for number in range(4)]
        while not all(writer.done() for writer in writers):
            reading = asyncio.ensure_future(read(chance.randint(1, 6)))
            done, _ = await asyncio.wait([reading], timeout=2)
            if not done:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        for writer in writers:
            writer.result()
    last = await database.run(heads)
    while cursors != last:
        await read(1)
    assert seen == await database.run(stored)


async def test_another_database_has_another_epoch(database, epoch):
    await database.run(lambda connection: connection.execute(sa.update(feed).values(epoch=new_id())))
    assert await database.run(store.epoch) != epoch


async def test_a_lost_change_is_noticed_although_sales_have_passed_the_cursor(the_feed, database, clock, epoch):
    event = await new_event(database, clock)
    [lost] = await database.run(lambda connection: sell(connection, event, 1))
    async with aclosing(the_feed.watch({}, epoch)) as pages:
        [page] = await take(pages, 1)
        # A promoted replica lacks the ticket, and sells two before the feed looks again.
        await database.run(lambda connection: connection.execute(sa.delete(tickets).where(tickets.c.ticket_id == lost)))
        await database.run(lambda connection: sell(connection, event, 2))
        with pytest.raises(Failure) as refused:
            await take(pages, 1)
    assert (page.revision, refused.value.reason) == (2, "RECOVERING")


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_cursor_beyond_its_event_begins_a_recovery(the_feed, database, clock, epoch, is_known):
    event = await new_event(database, clock)
    cursors = {event.event_id: 7} if is_known else {new_id(): 0}
    with pytest.raises(Failure) as refused:
        async with aclosing(the_feed.watch(cursors, epoch)) as pages:
            await take(pages, 1)
    assert refused.value.reason == "RECOVERING"


@pytest.mark.parametrize("other", [f"{UUID(int=7)}.2", ""])
async def test_a_cursor_of_another_epoch_begins_no_recovery(the_feed, database, clock, other):
    event = await new_event(database, clock)
    async with aclosing(the_feed.watch({event.event_id: 7}, other)) as pages:
        assert [page.event.event_id for page in await take(pages, 1)] == [event.event_id]
