from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from tests.environment.waiting import until
from tests.selling.relays import TERMS, FakeReceiver, insert, notification, rejecting, running_relay, until_delivered
from tests.selling.rows import sell, store_event
from ticket_service.commands.notifications import (
    NOT_KEPT,
    list_notifications,
    replay_notification,
    show_notification,
)
from ticket_service.delivery.store.kept import forget
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.store.tables import deliveries, notifications
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id

EVENT, PURCHASE = new_id(), new_id()


def show(url: URL, notification_id: UUID) -> tuple[int, list[str]]:
    """Run the command; return its exit status and its lines."""
    lines: list[str] = []
    return show_notification(url, notification_id, lines.append), lines


def list_all(url: URL, purchase_id: UUID) -> tuple[int, list[str]]:
    """Run the command; return its exit status and its lines."""
    lines: list[str] = []
    return list_notifications(url, purchase_id, lines.append), lines


def replay(
    url: URL, notification_id: UUID, receiver: str | None = None, purchase_id: UUID | None = None
) -> tuple[int, list[str]]:
    """Run the command; return its exit status and its lines."""
    lines: list[str] = []
    return replay_notification(url, notification_id, receiver, purchase_id, lines.append), lines


async def left(database: Database) -> list[UUID]:
    """Read the streams of all deliveries."""
    query = sa.select(deliveries.c.stream).order_by(deliveries.c.receiver)
    return await database.run(lambda connection: list(connection.execute(query).scalars()))


async def test_delivered_notification_is_sent_again_by_its_id(database, tickets_url: URL):
    first, second = FakeReceiver("first"), FakeReceiver("second")
    await insert(database, notification(1, PURCHASE, EVENT), notification(2, PURCHASE, EVENT))
    async with running_relay(database, first, second):
        await until_delivered(database)
        sent = first.taken[0]
        status, lines = show(tickets_url, sent.notification_id)
        assert (status, lines[1:]) == (0, ["    first: delivered", "    second: delivered"])
        assert replay(tickets_url, sent.notification_id, "first") == (0, ["first: due again"])
        await until(first.numbers, [1, 2, 1])
        assert replay(tickets_url, sent.notification_id) == (0, ["first: due again", "second: due again"])
        await until_delivered(database)
    assert (first.numbers(), second.numbers()) == ([1, 2, 1, 1], [1, 2, 1])
    again = first.taken[-1]
    assert (again.notification_id, again.position, again.create_time, again.stream) == (
        sent.notification_id,
        sent.position,
        sent.create_time,
        sent.stream,
    )
    assert again.notification == sent.notification


async def test_dead_letter_is_sent_again_and_waiting_one_stays(database, tickets_url: URL):
    receiver = FakeReceiver("hook", rejects=rejecting(1, [1], is_permanent=True))
    await insert(database, notification(1, PURCHASE, EVENT))
    async with running_relay(database, receiver):
        await until_delivered(database)
    [dead] = receiver.tried
    _, lines = list_all(tickets_url, PURCHASE)
    assert lines[1:] == ["    hook: dead letter after 1 tries not now"]
    assert replay(tickets_url, dead.notification_id) == (0, ["hook: due again"])
    assert replay(tickets_url, dead.notification_id) == (0, ["hook: waits already"])
    async with running_relay(database, receiver):
        await until_delivered(database)
    assert receiver.numbers() == [1]


async def test_event_notification_is_mailed_again_for_one_purchase(database, tickets_url: URL):
    def prepare(connection: Connection) -> UUID:
        event = store_event(connection, now=system_clock())
        for _ in range(2):
            sell(connection, event, 1)
        return event.event_id

    event_id = await database.run(prepare)
    await insert(database, Notification(event_id, Kind.EVENT_CHANGED, data={"n": 1}))
    mail, hook = FakeReceiver("mail", by_purchase=True), FakeReceiver("hook")
    async with running_relay(database, mail, hook):
        await until_delivered(database)
    [one, _], [event_wide] = mail.taken, hook.taken
    status, lines = replay(tickets_url, one.notification_id)
    assert status == 1
    assert lines[0] == "hook: due again"
    assert lines[1].startswith("mail: name a purchase with --purchase")
    assert replay(tickets_url, one.notification_id, "mail", one.stream) == (0, ["mail: due again"])
    assert await left(database) == [event_wide.stream, one.stream]
    async with running_relay(database, mail, hook):
        await until_delivered(database)
    assert mail.taken[-1].notification == one.notification


async def test_wrong_request_is_refused(database, tickets_url: URL):
    assert replay(tickets_url, new_id()) == (1, [NOT_KEPT])
    assert list_all(tickets_url, new_id()) == (1, [NOT_KEPT])
    receiver = FakeReceiver("hook")
    await insert(database, notification(1, PURCHASE, EVENT))
    async with running_relay(database, receiver):
        await until_delivered(database)
    [sent] = receiver.taken
    status, [line] = replay(tickets_url, sent.notification_id, "mail")
    assert (status, line) == (1, "mail is no receiver of this notification; its receivers are hook")
    status, [line] = replay(tickets_url, sent.notification_id, purchase_id=new_id())
    assert (status, line) == (1, f"the notification is about purchase {PURCHASE}")


async def test_notifications_are_kept_for_a_bounded_time_and_number(database, tickets_url: URL):
    await insert(database, *(notification(n, new_id(), EVENT) for n in range(10)))
    async with running_relay(database, FakeReceiver()):
        await until_delivered(database)
    now = system_clock()

    def kept(connection: Connection) -> list[object]:
        query = sa.select(notifications.c.data["n"].as_integer()).order_by(notifications.c.position)
        return list(connection.execute(query).scalars())

    def forget_some(connection: Connection) -> list[object]:
        forgotten: list[object] = [
            forget(connection, now - timedelta(days=1), 100),
            # At most the newest four; two of a batch.
            forget(connection, now - timedelta(days=1), 2, max_kept=4),
            forget(connection, now - timedelta(days=1), 100, max_kept=4),
            kept(connection),
            forget(connection, now + timedelta(seconds=1), 100),
        ]
        return [*forgotten, kept(connection)]

    assert await database.run(forget_some) == [0, 2, 4, [6, 7, 8, 9], 4, []]


async def test_nothing_is_kept_for_zero_days(database, tickets_url: URL):
    receiver = FakeReceiver()
    await insert(database, notification(1, PURCHASE, EVENT))
    async with running_relay(database, receiver, terms=replace(TERMS, kept_for=timedelta(0))):
        await until_delivered(database)
    assert show(tickets_url, receiver.taken[0].notification_id) == (1, [NOT_KEPT])
