from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.selling.rows import sell, store_event
from ticket_service.domain.calendar_entries import Holder
from ticket_service.store import tickets as store
from ticket_service.store.tables import tickets
from ticketing.chassis.clock import system_clock


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
