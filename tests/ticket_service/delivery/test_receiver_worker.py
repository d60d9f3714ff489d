import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from tests.environment.waiting import until
from tests.selling.relays import TERMS, FakeReceiver, insert, notification, running_relay, until_delivered
from ticket_service.commands.receivers import enable_receivers, list_receivers
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.store.deliveries import claim_due, delete_delivered
from ticket_service.delivery.store.dispatch import Route, dispatch
from ticket_service.delivery.store.receiver_states import find_states
from ticket_service.domain.notifications import Kind
from ticket_service.store.tables import deliveries, receiver_states
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id

EVENT, ONE, OTHER = new_id(), new_id(), new_id()
# More rows than a claim may read, in one stream each.
FILL = sa.text("""
    INSERT INTO deliveries (event_id, position, notification_id, kind, purchase_id, data, create_time, receiver, stream,
                            due_time, attempts, failure)
    SELECT '00000000-0000-0000-0000-000000000001', n, gen_random_uuid(), 'incident', NULL, '{}', now(), 'listener',
           gen_random_uuid(), now() - interval '1 hour' + n * interval '1 ms', 0, ''
    FROM generate_series(1, 5000) AS n
""")
# The rows of the table that this transaction has read.
READ_ROWS = sa.text("""
    SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
    WHERE relname = 'deliveries'
""")


async def waiting(database: Database) -> Sequence[Any]:
    """Read the number, tries and failure of each delivery, in order."""
    columns = (deliveries.c.data["n"].as_integer(), deliveries.c.attempts, deliveries.c.failure)
    query = sa.select(*columns).order_by(deliveries.c.position)
    return await database.run(lambda connection: [tuple(row) for row in connection.execute(query)])


async def test_slow_delivery_occupies_one_slot_only(database):
    receiver = FakeReceiver(max_parallel=3, hangs=lambda one: one.notification.data["n"] == 0)
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(40)))
    async with running_relay(database, receiver, terms=replace(TERMS, deadline_seconds=60)):
        await until(lambda: sorted(receiver.numbers()), list(range(1, 40)))
    assert [one.notification.data["n"] for one in receiver.tried].count(0) == 1


async def test_new_delivery_does_not_wait_for_a_long_backlog(database):
    receiver = FakeReceiver(max_parallel=1)
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(30)))
    await insert(database, notification(30, new_id(), EVENT))
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert receiver.numbers().index(30) == 1


async def test_long_preparation_renews_a_short_claim(database):
    """The claim is short, because the deliveries of a killed relay wait for its end."""
    receiver = FakeReceiver(preparation_seconds=60, hangs=lambda _: True)
    await insert(database, notification(0, ONE, EVENT))
    query = sa.select(deliveries.c.due_time).where(deliveries.c.attempts == 1)

    async def claimed_until() -> Any:
        return await database.run(lambda connection: connection.execute(query).scalar())

    terms = replace(TERMS, deadline_seconds=1, interval_seconds=600)
    async with running_relay(database, receiver, terms=terms):
        first = await until(claimed_until)
        assert first < system_clock() + timedelta(seconds=5)
        await until(lambda: database.run(lambda c: c.execute(query).scalar_one() > first + timedelta(seconds=2)))
    assert len(receiver.tried) == 1


async def test_receiver_that_is_down_gets_one_try_an_interval(database):
    def refuse(_: Delivery) -> None:
        raise UndeliveredError("HTTP 500")

    receiver = FakeReceiver(max_parallel=8, rejects=refuse)
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(100)))
    # The eight tries of the first claim halve the slots to one, whose failure begins the pause of one interval.
    async with running_relay(database, receiver, terms=replace(TERMS, retry_seconds=60, interval_seconds=600)):
        await until(lambda: len(receiver.tried), 8)
        await insert(database, notification(100, new_id(), EVENT))
        await until(lambda: database.run(lambda c: c.execute(sa.text("SELECT count(*) FROM outbox")).scalar_one()), 1)
    assert len(receiver.tried) == 8


async def test_refused_notifications_do_not_slow_the_others(database):
    def refuse(delivery: Delivery) -> None:
        if delivery.notification.data["n"] in range(20):
            raise UndeliveredError("the recipient was refused", is_permanent=True)

    receiver = FakeReceiver(max_parallel=2, rejects=refuse)
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(40)))
    # With a pause after a refusal, this test would not end.
    async with running_relay(database, receiver, terms=replace(TERMS, interval_seconds=600)):
        await until(lambda: sorted(receiver.numbers()), list(range(20, 40)))


async def test_stopping_relay_records_deliveries_in_progress(database):
    answer = asyncio.Event()

    class SlowReceiver(FakeReceiver):
        async def deliver(self, delivery: Delivery) -> None:
            self.tried.append(delivery)
            await answer.wait()

    receiver = SlowReceiver()
    await insert(database, notification(1, ONE, EVENT), notification(2, OTHER, EVENT))
    async with running_relay(database, receiver, terms=replace(TERMS, drain_seconds=30)) as relay:
        await until(lambda: len(receiver.tried), 2)
        stopping = asyncio.create_task(relay.stop())
        answer.set()
        await stopping
        assert await waiting(database) == []


async def test_delivery_that_outlasts_the_stop_is_repeated(database):
    receiver = FakeReceiver(hangs=lambda one: one.attempts == 1)
    await insert(database, notification(1, ONE, EVENT))
    async with running_relay(database, receiver):
        await until(lambda: len(receiver.tried), 1)
    assert await waiting(database) == [(1, 1, "")]
    await database.run(lambda c: c.execute(sa.update(deliveries).values(due_time=system_clock())))
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert receiver.numbers() == [1]


async def test_receiver_that_is_gone_is_disabled_and_loses_nothing(database, tickets_url: URL, caplog):
    is_gone = True

    def refuse(_: Delivery) -> None:
        if is_gone:
            raise UndeliveredError("HTTP 410", is_gone=True)

    receiver = FakeReceiver(rejects=refuse)
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(3)))
    async with running_relay(database, receiver):
        await until(lambda: waiting(database), [(n, 0, "HTTP 410") for n in range(3)])
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
        tries = len(receiver.tried)
        await insert(database, notification(3, new_id(), EVENT))
        # The relay goes on to dispatch, and delivers nothing.
        await until(lambda: waiting(database), [*((n, 0, "HTTP 410") for n in range(3)), (3, 0, "")])
        assert len(receiver.tried) == tries
        lines: list[str] = []
        assert list_receivers(tickets_url, lines.append) == 0
        assert lines[0].startswith("listener is disabled since 20")
        assert lines[0].endswith("HTTP 410")
        is_gone = False
        assert enable_receivers(tickets_url, ["listener"], lines.append) == 0
        await until_delivered(database)
    assert sorted(receiver.numbers()) == [0, 1, 2, 3]
    assert enable_receivers(tickets_url, ["listener"], lines.append) == 1
    assert list_receivers(tickets_url, lines.append) == 0
    assert lines[-2:] == [
        "no receiver of the name listener is disabled or paused",
        "0 receivers are disabled or paused",
    ]


async def test_busy_receiver_gets_nothing_before_the_time_that_it_named(database, tickets_url: URL):
    def refuse(delivery: Delivery) -> None:
        if delivery.attempts == 1 and delivery.notification.data["n"] == 1:
            raise UndeliveredError("HTTP 429", retry_after=timedelta(minutes=30))

    receiver = FakeReceiver(max_parallel=1, rejects=refuse)
    await insert(database, notification(1, ONE, EVENT))
    await insert(database, notification(2, OTHER, EVENT))
    begin = system_clock()
    async with running_relay(database, receiver):
        await until(lambda: waiting(database), [(1, 1, "HTTP 429"), (2, 0, "")])
        await insert(database, notification(3, new_id(), EVENT))
        await until(lambda: waiting(database), [(1, 1, "HTTP 429"), (2, 0, ""), (3, 0, "")])
        assert len(receiver.tried) == 1
        [state] = await database.run(find_states)
        assert state.paused_until is not None
        assert timedelta(minutes=30) <= state.paused_until - begin < timedelta(minutes=31)
        lines: list[str] = []
        assert list_receivers(tickets_url, lines.append) == 0
        assert lines[0].startswith("listener is paused until 20")
        # The pause ends for all notifications, and for the refused one too.
        await database.run(lambda c: c.execute(sa.update(receiver_states).values(paused_until=system_clock())))
        await until(lambda: sorted(receiver.numbers()), [2, 3])
    due = await database.run(lambda c: c.execute(sa.select(deliveries.c.due_time)).scalar_one())
    assert due - begin >= timedelta(minutes=30)


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_claim_reads_few_rows_of_a_long_backlog(database, is_analyzed):
    now = system_clock()
    # Autovacuum on a busy machine may analyze the table while it is empty, or has analyzed it in a test before; PostgreSQL
    # then plans for a few rows until it analyzes again.
    for statement in (
        "ALTER TABLE deliveries SET (autovacuum_enabled = off)",
        "TRUNCATE deliveries",
        "DELETE FROM pg_statistic WHERE starelid = 'deliveries'::regclass",
    ):
        await database.run(lambda connection, statement=statement: connection.execute(sa.text(statement)))
    await database.run(lambda connection: connection.execute(FILL))
    if is_analyzed:
        await database.run(lambda connection: connection.execute(sa.text("ANALYZE deliveries")))

    def deliver(connection: Connection) -> tuple[int, int]:
        claim = claim_due(connection, "listener", now, now + timedelta(seconds=10), 16)
        delete_delivered(connection, claim.deliveries, now)
        return len(claim.deliveries), connection.execute(READ_ROWS).scalar_one()

    claimed, read = await database.run(deliver)
    assert claimed == 16
    assert read < 500


async def test_notifications_behind_a_retried_one_are_read_once(database):
    await insert(database, *(notification(n, ONE, EVENT) for n in range(50)))
    await insert(database, notification(50, OTHER, EVENT))
    now, until_time = system_clock(), system_clock() + timedelta(seconds=10)

    def claim(connection: Connection) -> list[Any]:
        dispatch(connection, [Route("listener", list(Kind))], now, 100)
        first = claim_due(connection, "listener", now, until_time, 50)
        rest = claim_due(connection, "listener", now, until_time, 100)
        again = claim_due(connection, "listener", now, until_time, 100)
        delete_delivered(connection, first.deliveries, now)
        after = claim_due(connection, "listener", now, until_time, 100)
        claims = [[one.notification.data["n"] for one in its.deliveries] for its in (first, rest, again, after)]
        return [*claims, first.has_more, again.has_more]

    assert await database.run(claim) == [[0], [50], [], [1], True, False]
