from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from tests.environment.waiting import until
from tests.selling.relays import TERMS, FakeReceiver, insert, notification, rejecting, running_relay, until_delivered
from tests.selling.rows import sell, store_event
from ticket_service.commands.dead_letters import list_dead_letters, replay_dead_letters, show_backlog
from ticket_service.delivery.receiver import Delivery
from ticket_service.delivery.store.deliveries import Claim, claim_due, claim_newest_due
from ticket_service.delivery.store.dispatch import Route, dispatch
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.store.tables import deliveries, outbox
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

EVENT, ONE, OTHER = new_id(), new_id(), new_id()


async def test_every_receiver_gets_each_notification_once_by_one_id(database):
    first, second = FakeReceiver("first"), FakeReceiver("second")
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(30)))
    async with running_relay(database, first, second):
        await until_delivered(database)
    assert sorted(first.numbers()) == sorted(second.numbers()) == list(range(30))
    assert {one.notification_id for one in first.taken} == {one.notification_id for one in second.taken}
    assert len({one.notification_id for one in first.taken}) == 30
    assert first.is_closed


async def test_receiver_gets_only_its_kinds(database):
    receiver = FakeReceiver(kinds=[Kind.REFUND_MADE])
    await insert(database, notification(1, ONE, EVENT), notification(2, ONE, EVENT, Kind.REFUND_MADE))
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert receiver.numbers() == [2]


async def test_retried_delivery_delays_only_its_own_stream(database):
    receiver = FakeReceiver(rejects=rejecting(3, [1]))
    await insert(database, *(notification(n, ONE, EVENT) for n in (1, 2, 3)), notification(4, OTHER, EVENT))
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert receiver.numbers() == [4, 1, 2, 3]
    assert [one.attempts for one in receiver.tried if one.notification.data["n"] == 1] == [1, 2, 3, 4]


async def test_hanging_delivery_is_repeated_after_the_deadline(database):
    receiver = FakeReceiver(hangs=lambda delivery: delivery.attempts == 1)
    await insert(database, notification(1, ONE, EVENT), notification(2, ONE, EVENT))
    async with running_relay(database, receiver, terms=replace(TERMS, deadline_seconds=0.05)):
        await until_delivered(database)
    assert receiver.numbers() == [1, 2]


async def test_hanging_receiver_delays_no_other_receiver(database):
    hanging, receiver = FakeReceiver("hanging", hangs=lambda _: True), FakeReceiver()
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(100)))
    async with running_relay(database, hanging, receiver):
        await until(lambda: len(receiver.taken) == 100)
        await until(lambda: len(hanging.tried) == 10)
    assert hanging.taken == []


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), Failure("X", "the database is away")])
async def test_unexpected_error_is_retried_like_a_rejection(database, error):
    def fail(delivery: Delivery) -> None:
        if delivery.attempts == 1:
            raise error

    receiver = FakeReceiver(rejects=fail)
    await insert(database, notification(1, ONE, EVENT))
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert len(receiver.tried) == 2


@pytest.mark.parametrize(
    ("terms", "how", "tries"), [(replace(TERMS, max_attempts=3), {}, 3), (TERMS, {"is_permanent": True}, 1)]
)
async def test_dead_letters_are_listed_and_replayed(database, tickets_url: URL, terms, how, tries):
    receiver = FakeReceiver(rejects=rejecting(tries, [1], **how))
    await insert(database, notification(1, ONE, EVENT), notification(2, ONE, EVENT))
    async with running_relay(database, receiver, terms=terms):
        await until_delivered(database)
        # A dead letter blocks no other delivery.
        assert receiver.numbers() == [2]
        lines: list[str] = []
        assert list_dead_letters(tickets_url, lines.append) == 0
        assert f"listener ticket.reissued {receiver.tried[0].notification_id} after {tries} tries: not now" in lines[0]
        assert lines[1:] == ["1 dead letters"]
        assert replay_dead_letters(tickets_url, lines.append) == 0
        assert lines[-1] == "1 dead letters are due again"
        await until(lambda: len(receiver.taken) == 2)
    assert receiver.numbers() == [2, 1]
    assert list_dead_letters(tickets_url, lines.append) == 0
    assert lines[-1] == "0 dead letters"


async def test_two_relays_keep_the_order_of_each_stream(database, tickets_url: URL):
    streams = [new_id() for _ in range(20)]
    receiver = FakeReceiver(max_parallel=3, rejects=rejecting(1, range(0, 200, 7)))
    other = Database(tickets_url, "other relay", 2)
    async with running_relay(database, receiver), running_relay(other, receiver):
        for n in range(0, 200, 20):
            await insert(database, *(notification(n + place, stream, EVENT) for place, stream in enumerate(streams)))
        await until_delivered(database)
    await other.close()
    assert sorted(receiver.numbers()) == list(range(200))
    by_stream: dict[UUID, list[Any]] = defaultdict(list)
    for delivery in receiver.taken:
        by_stream[delivery.stream].append(delivery.notification.data["n"])
    assert all(numbers == sorted(numbers) for numbers in by_stream.values())
    assert len(by_stream) == 20


async def test_waiting_notification_with_a_repeated_id_is_delivered_once(database):
    repeated = replace(notification(1, ONE, EVENT), notification_id=new_id())
    await insert(database, repeated, repeated)
    receiver = FakeReceiver()
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert [one.notification_id for one in receiver.taken] == [repeated.notification_id]


async def test_delivery_of_a_dead_relay_is_repeated_after_its_claim(database):
    await insert(database, notification(1, ONE, EVENT))
    now = system_clock()
    receiver = FakeReceiver()

    def die(connection: Connection) -> Claim:
        dispatch(connection, [Route("listener", list(Kind))], now, 10)
        return claim_due(connection, "listener", now, now + timedelta(seconds=0.2), 10)

    [left] = (await database.run(die)).deliveries
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert [one.notification_id for one in receiver.taken] == [left.notification_id]
    assert receiver.taken[0].attempts == 2


async def test_one_relay_at_a_time_dispatches_the_outbox(database, tickets_url: URL):
    await insert(database, notification(1, ONE, EVENT))
    other = Database(tickets_url, "other relay", 1)
    routes = [Route("listener", list(Kind))]

    def while_another_dispatches(connection: Connection) -> int:
        assert dispatch(connection, routes, system_clock(), 10) == 1
        return other.run_here(lambda its: dispatch(its, routes, system_clock(), 10))

    assert await database.run(while_another_dispatches) == 0
    await other.close()


async def test_event_notification_is_delivered_once_or_by_purchase(database):
    def prepare(connection: Connection) -> UUID:
        for _ in range(2):
            event = store_event(connection, now=system_clock())
            sell(connection, event, 3)
            sell(connection, event, 2)
        return event.event_id

    event_id = await database.run(prepare)
    await insert(database, Notification(event_id, Kind.EVENT_CHANGED, data={"n": 1}))
    receiver, mail = FakeReceiver(), FakeReceiver("mail", by_purchase=True)
    async with running_relay(database, receiver, mail):
        await until_delivered(database)
    assert [one.stream for one in receiver.taken] == [event_id]
    assert len({one.stream for one in mail.taken}) == len(mail.taken) == 2
    assert {one.notification.purchase_id for one in mail.taken} == {one.stream for one in mail.taken}


async def test_outbox_is_dispatched_by_age_whatever_the_event(database):
    first_event, second_event = sorted([new_id(), new_id()])
    await insert(database, notification(1, ONE, second_event))
    await insert(database, notification(2, OTHER, first_event), notification(3, OTHER, first_event))
    routes = [Route("listener", list(Kind))]
    assert await database.run(lambda connection: dispatch(connection, routes, system_clock(), 1)) == 1
    left = await database.run(lambda connection: connection.execute(sa.select(outbox.c.data)).scalars().all())
    assert [one["n"] for one in left] == [2, 3]


@pytest.mark.parametrize(("claim_some", "claimed"), [(claim_due, 1), (claim_newest_due, 2)])
async def test_due_deliveries_are_claimed_by_age(database, claim_some, claimed):
    old, new = notification(1, ONE, EVENT), notification(2, OTHER, EVENT)
    await insert(database, old)
    await insert(database, new)
    now = system_clock()

    def claim(connection: Connection) -> Claim:
        dispatch(connection, [Route("listener", list(Kind))], now, 10)
        return claim_some(connection, "listener", now, now + timedelta(seconds=10), 1)

    [first] = (await database.run(claim)).deliveries
    assert first.notification.data == {"n": claimed}


async def test_backlog_is_shown_by_command(database, tickets_url: URL):
    receiver = FakeReceiver("seen", rejects=rejecting(10, [1]), hangs=lambda one: one.notification.data["n"] == 2)
    await insert(database, notification(1, ONE, EVENT), notification(2, OTHER, EVENT))
    lines: list[str] = []
    assert show_backlog(tickets_url, lines.append) == 0
    assert lines == ["         2 not taken up by a relay"]
    failures = sa.select(deliveries.c.failure).order_by(deliveries.c.position)
    async with running_relay(database, receiver, terms=replace(TERMS, retry_seconds=60)):
        await until(
            lambda: database.run(lambda connection: connection.execute(failures).scalars().all()), ["not now", ""]
        )
    assert show_backlog(tickets_url, lines.append) == 0
    assert lines[-2] == "         0 not taken up by a relay"
    assert lines[-1].startswith("         2 waiting for seen, oldest of 20")
