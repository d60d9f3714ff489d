from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from tests.environment.clock import Seconds
from tests.selling.rows import make_event
from ticket_service.domain.events import Event, Offer, TicketType
from ticket_service.store.events import find_event, insert_event
from ticket_service.store.known_events import KEPT_SECONDS, READ_EVENTS, KnownEvents
from ticket_service.store.restored import raise_capacity
from ticket_service.store.tables import events
from ticketing.chassis.database import Database
from ticketing.chassis.loop_connection import LoopConnection

Read = Callable[..., Any]


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def read(tickets_url: URL, seconds: Seconds) -> AsyncIterator[Read]:
    """Read events by the same KnownEvents."""
    connection, known = LoopConnection(tickets_url, "tests", {"read_events": READ_EVENTS}), KnownEvents(seconds)

    async def read(versions: dict[UUID, int]) -> Sequence[Event]:
        return await connection.transact(lambda connection: known.read(connection, versions))

    yield read
    connection.close()


async def stored(database: Database, **fields: Any) -> Event:
    event = make_event(**fields)
    await database.run(lambda connection: insert_event(connection, event))
    return event


async def change(database: Database, event: Event, **values: Any) -> None:
    await database.run(
        lambda connection: connection.execute(
            sa.update(events).where(events.c.event_id == event.event_id).values(**values)
        )
    )


async def test_events_are_read_with_their_offers_in_order(database: Database, read: Read):
    dear = Offer(TicketType.VIP, 5_000, capacity=10)
    one, two = await stored(database, offers=(dear, Offer(TicketType.STANDARD, 1_000))), await stored(database)
    assert await read({two.event_id: two.version, one.event_id: one.version}) == [two, one]


async def test_an_event_is_read_again_in_another_version(database: Database, read: Read):
    event = await stored(database)
    [first] = await read({event.event_id: event.version})
    await change(database, event, version=event.version + 1, name="Later")
    [second] = await read({event.event_id: event.version + 1})
    assert (first, second) == (event, replace(event, version=event.version + 1, name="Later"))


async def test_an_event_of_the_same_version_is_read_once_a_second(database: Database, read: Read, seconds: Seconds):
    event = await stored(database)
    [first] = await read({event.event_id: event.version})
    await change(database, event, name="Later")
    seconds.now += KEPT_SECONDS / 2
    assert (await read({event.event_id: event.version}))[0] is first
    seconds.now += KEPT_SECONDS / 2
    assert (await read({event.event_id: event.version}))[0].name == "Later"


async def test_a_capacity_that_a_recovery_raises_has_another_version(database: Database):
    event = await stored(database, offers=(Offer(TicketType.VIP, 5_000, capacity=1),))

    def raise_it(connection: Connection) -> Event | None:
        raise_capacity(connection, event.event_id, 0, {TicketType.VIP: 2})
        return find_event(connection, event.event_id)

    raised = await database.run(raise_it)
    assert raised is not None
    assert (raised.offers[0].capacity, raised.version) == (2, event.version + 1)
