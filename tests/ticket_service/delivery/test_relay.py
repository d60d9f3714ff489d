import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL, Connection

from tests.environment.waiting import until
from tests.selling.rows import sell, store_event
from ticket_service.commands.dead_letters import list_dead_letters, replay_dead_letters, show_backlog
from ticket_service.delivery import store
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.relay import Relay
from ticket_service.delivery.settings import DeliveryTerms
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.store import outbox
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

TERMS = DeliveryTerms(deadline_seconds=5, retry_seconds=0.01, max_attempts=20, interval_seconds=0.01)


@dataclass
class Listener:
    """Takes what it is told, unless `refuses` raises."""

    name: str = "listener"
    kinds: Sequence[Kind] = tuple(Kind)
    by_purchase: bool = False
    max_parallel: int = 10
    refuses: Callable[[Delivery], object] = lambda delivery: None
    hangs: Callable[[Delivery], bool] = lambda delivery: False
    tried: list[Delivery] = field(default_factory=list)
    taken: list[Delivery] = field(default_factory=list)
    is_closed: bool = False

    async def deliver(self, delivery: Delivery) -> None:
        self.tried.append(delivery)
        if self.hangs(delivery):
            await asyncio.Event().wait()
        self.refuses(delivery)
        self.taken.append(delivery)

    async def close(self) -> None:
        self.is_closed = True

    def numbers(self) -> list[Any]:
        return [delivery.notification.data["n"] for delivery in self.taken]


def refusing(times: int, numbers: Sequence[int], **how: bool) -> Callable[[Delivery], object]:
    """Refuse the first tries of some."""
    tries: dict[object, int] = defaultdict(int)

    def refuse(delivery: Delivery) -> None:
        number = delivery.notification.data["n"]
        tries[number] += 1
        if number in numbers and tries[number] <= times:
            raise UndeliveredError("not now", **how)

    return refuse


def news(n: int, purchase_id: UUID, event_id: UUID, kind: Kind = Kind.TICKET_REISSUED) -> Notification:
    return Notification(event_id, kind, purchase_id, user_id="alice", data={"n": n})


async def tell(database: Database, *told: Notification) -> None:
    await database.run(lambda connection: outbox.write(connection, told, system_clock()))


@asynccontextmanager
async def relaying(database: Database, *receivers: Listener, terms: DeliveryTerms = TERMS) -> AsyncIterator[Relay]:
    relay = Relay(database, receivers, terms, system_clock)
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


async def drained(database: Database) -> None:
    """Wait until nothing is left to tell."""

    def left(connection: Connection) -> int:
        return outbox_rows(connection) + sum(backlog.waiting for backlog in store.count_backlogs(connection))

    await until(lambda: database.run(left), 0)


def outbox_rows(connection: Connection) -> int:
    return store.count_rows(connection)


EVENT, ONE, OTHER = new_id(), new_id(), new_id()


async def test_everybody_is_told_everything_once_under_one_id(database):
    first, second = Listener("first"), Listener("second")
    await tell(database, *(news(n, new_id(), EVENT) for n in range(30)))
    async with relaying(database, first, second):
        await drained(database)
    assert sorted(first.numbers()) == sorted(second.numbers()) == list(range(30))
    assert {one.notification_id for one in first.taken} == {one.notification_id for one in second.taken}
    assert len({one.notification_id for one in first.taken}) == 30
    assert first.is_closed


async def test_a_receiver_is_told_only_what_it_wants(database):
    listener = Listener(kinds=[Kind.REFUND_MADE])
    await tell(database, news(1, ONE, EVENT), news(2, ONE, EVENT, Kind.REFUND_MADE))
    async with relaying(database, listener):
        await drained(database)
    assert listener.numbers() == [2]


async def test_what_is_later_waits_for_what_is_earlier_of_the_same_ticket_and_holds_no_other_up(database):
    listener = Listener(refuses=refusing(3, [1]))
    await tell(database, *(news(n, ONE, EVENT) for n in (1, 2, 3)), news(4, OTHER, EVENT))
    async with relaying(database, listener):
        await drained(database)
    assert listener.numbers() == [4, 1, 2, 3]
    assert [one.attempts for one in listener.tried if one.notification.data["n"] == 1] == [1, 2, 3, 4]


async def test_a_receiver_that_hangs_is_asked_again_after_the_deadline(database):
    listener = Listener(hangs=lambda delivery: delivery.attempts == 1)
    await tell(database, news(1, ONE, EVENT), news(2, ONE, EVENT))
    async with relaying(database, listener, terms=DeliveryTerms(0.05, 0.01, 20, 0.01)):
        await drained(database)
    assert listener.numbers() == [1, 2]


async def test_one_that_hangs_does_not_hold_up_another(database):
    hanging, listener = Listener("hanging", hangs=lambda _: True), Listener()
    await tell(database, *(news(n, new_id(), EVENT) for n in range(100)))
    async with relaying(database, hanging, listener):
        await until(lambda: len(listener.taken) == 100)
        await until(lambda: len(hanging.tried) == 10)
    assert hanging.taken == []


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), Failure("X", "the database is away")])
async def test_a_fault_is_as_good_as_a_refusal(database, error):
    def fail(delivery: Delivery) -> None:
        if delivery.attempts == 1:
            raise error

    listener = Listener(refuses=fail)
    await tell(database, news(1, ONE, EVENT))
    async with relaying(database, listener):
        await drained(database)
    assert len(listener.tried) == 2


@pytest.mark.parametrize(
    ("terms", "how", "tries"), [(DeliveryTerms(5, 0.01, 3, 0.01), {}, 3), (TERMS, {"is_permanent": True}, 1)]
)
async def test_what_is_given_up_can_be_listed_and_replayed(database, tickets_url: URL, terms, how, tries):
    listener = Listener(refuses=refusing(tries, [1], **how))
    await tell(database, news(1, ONE, EVENT), news(2, ONE, EVENT))
    async with relaying(database, listener, terms=terms):
        await drained(database)
        # It holds nobody up.
        assert listener.numbers() == [2]
        told: list[str] = []
        assert list_dead_letters(tickets_url, told.append) == 0
        assert f"listener ticket.reissued {listener.tried[0].notification_id} after {tries} tries: not now" in told[0]
        assert told[1:] == ["1 dead letters"]
        assert replay_dead_letters(tickets_url, told.append) == 0
        assert told[-1] == "1 dead letters are due again"
        await until(lambda: len(listener.taken) == 2)
    assert listener.numbers() == [2, 1]
    assert list_dead_letters(tickets_url, told.append) == 0
    assert told[-1] == "0 dead letters"


async def test_relays_share_the_work_and_keep_the_order(database, tickets_url: URL):
    streams = [new_id() for _ in range(20)]
    listener = Listener(max_parallel=3, refuses=refusing(1, range(0, 200, 7)))
    other = Database(tickets_url, "other relay", 2)
    async with relaying(database, listener), relaying(other, listener):
        for n in range(0, 200, 20):
            await tell(database, *(news(n + place, stream, EVENT) for place, stream in enumerate(streams)))
        await drained(database)
    await other.close()
    assert sorted(listener.numbers()) == list(range(200))
    by_stream: dict[UUID, list[Any]] = defaultdict(list)
    for delivery in listener.taken:
        by_stream[delivery.stream].append(delivery.notification.data["n"])
    assert all(numbers == sorted(numbers) for numbers in by_stream.values())
    assert len(by_stream) == 20


async def test_what_is_told_twice_under_one_id_is_delivered_once_while_it_waits(database):
    told = replace(news(1, ONE, EVENT), notification_id=new_id())
    await tell(database, told, told)
    listener = Listener()
    async with relaying(database, listener):
        await drained(database)
    assert [one.notification_id for one in listener.taken] == [told.notification_id]


async def test_what_a_relay_left_when_it_died_is_delivered_once_its_claim_is_over(database):
    await tell(database, news(1, ONE, EVENT))
    now = system_clock()
    listener = Listener()

    def die(connection: Connection) -> list[Delivery]:
        store.dispatch(connection, [store.Route("listener", list(Kind))], now, 10)
        return store.claim_due(connection, "listener", now, now + timedelta(seconds=0.2), 10)

    [left] = await database.run(die)
    async with relaying(database, listener):
        await drained(database)
    assert [one.notification_id for one in listener.taken] == [left.notification_id]
    assert listener.taken[0].attempts == 2


async def test_one_relay_alone_empties_the_outbox(database, tickets_url: URL):
    await tell(database, news(1, ONE, EVENT))
    other = Database(tickets_url, "other relay", 1)
    routes = [store.Route("listener", list(Kind))]

    def while_another_is_at_it(connection: Connection) -> int:
        assert store.dispatch(connection, routes, system_clock(), 10) == 1
        return other.run_here(lambda its: store.dispatch(its, routes, system_clock(), 10))

    assert await database.run(while_another_is_at_it) == 0
    await other.close()


async def test_what_is_about_an_event_is_told_once_or_purchase_by_purchase(database):
    def prepare(connection: Connection) -> UUID:
        for _ in range(2):
            event = store_event(connection, now=system_clock())
            sell(connection, event, 3)
            sell(connection, event, 2)
        return event.event_id

    event_id = await database.run(prepare)
    await tell(database, Notification(event_id, Kind.EVENT_CHANGED, data={"n": 1}))
    listener, mail = Listener(), Listener("mail", by_purchase=True)
    async with relaying(database, listener, mail):
        await drained(database)
    assert [one.stream for one in listener.taken] == [event_id]
    assert len({one.stream for one in mail.taken}) == len(mail.taken) == 2
    assert {one.notification.purchase_id for one in mail.taken} == {one.stream for one in mail.taken}


async def test_the_backlog_can_be_seen(database, tickets_url: URL):
    listener = Listener("seen", refuses=refusing(10, [1]), hangs=lambda one: one.notification.data["n"] == 2)
    await tell(database, news(1, ONE, EVENT), news(2, OTHER, EVENT))
    told: list[str] = []
    assert show_backlog(tickets_url, told.append) == 0
    assert told == ["         2 not taken up by a relay"]
    async with relaying(database, listener, terms=DeliveryTerms(5, 1, 1, 0.01)):
        await until(lambda: len(listener.tried) == 2)
    assert show_backlog(tickets_url, told.append) == 0
    assert told[-2] == "         0 not taken up by a relay"
    assert told[-1].startswith("         2 waiting for seen, oldest of 20")
    async with relaying(database, listener):
        await until(lambda: REGISTRY.get_sample_value("notifications_waiting", {"receiver": "seen"}), 2)
