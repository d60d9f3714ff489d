from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.selling.rows import sell, store_event
from ticket_service.domain.calendar_entries import Holder
from ticket_service.store import tickets as store
from ticket_service.store.tables import tickets
from ticketing.chassis.clock import system_clock
from ticketing.chassis.ids import new_id


async def test_many_tickets_of_a_holder_hide_no_day(database, monkeypatch: pytest.MonkeyPatch):
    """A day whose tickets are not found would lose its calendar entry."""
    monkeypatch.setattr(store, "MAX_FOR_HOURS", 2)

    def found(connection: Connection) -> bool:
        event = store_event(connection, now=system_clock())
        [of_day] = sell(connection, event, 1)
        day = {"valid_from_time": event.start_time, "valid_until_time": event.start_time + timedelta(hours=1)}
        connection.execute(sa.update(tickets).where(tickets.c.ticket_id == of_day).values(day))
        last = sell(connection, event, 3)[1:]
        sell(connection, event, 1, user_id="bob")
        its = store.tickets_of_holder(connection, event.event_id, Holder(user_id="alice"))
        return [sold.ticket.ticket_id for sold in its] == [of_day, *last]

    assert await database.run(found)


async def test_tickets_are_found_by_id_and_by_code_together(database):
    def found(connection: Connection) -> bool:
        event, other = (store_event(connection, now=system_clock()) for _ in range(2))
        [by_id, by_code], [of_another] = sell(connection, event, 2), sell(connection, other, 1)
        digests = {
            row.ticket_id: bytes(row.code_digest)
            for row in connection.execute(sa.select(tickets.c.ticket_id, tickets.c.code_digest))
        }
        read = store.find_tickets(connection, [by_id, digests[by_code], of_another, new_id(), b"unknown"])
        return {key: (sold.ticket.ticket_id, sold.event.event_id) for key, sold in read.items()} == {
            by_id: (by_id, event.event_id),
            digests[by_code]: (by_code, event.event_id),
            of_another: (of_another, other.event_id),
        }

    assert await database.run(found)


async def test_the_tickets_of_purchases_keep_their_order(database):
    def found(connection: Connection) -> bool:
        event = store_event(connection, now=system_clock())
        bought = [sell(connection, event, count) for count in (3, 1)]
        purchases = {
            row.ticket_id: row.purchase_id
            for row in connection.execute(sa.select(tickets.c.ticket_id, tickets.c.purchase_id))
        }
        keys = [(event.event_id, purchases[ids[0]]) for ids in bought]
        read = store.tickets_of_purchases(connection, [*keys, (event.event_id, new_id())])
        return [[sold.ticket.ticket_id for sold in its] for its in read.values()] == [*bought, []]

    assert await database.run(found)
