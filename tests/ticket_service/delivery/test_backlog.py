from datetime import timedelta

import sqlalchemy as sa
from prometheus_client import REGISTRY

from tests.environment.clock import SettableClock
from tests.selling.relays import insert, notification
from ticket_service.delivery.backlog import BacklogMetrics
from ticket_service.delivery.store import receiver_states
from ticket_service.delivery.store.dispatch import Route, dispatch
from ticket_service.domain.notifications import Kind
from ticket_service.store.tables import deliveries
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id


def metric(name: str, receiver: str) -> float | None:
    return REGISTRY.get_sample_value(f"notifications_{name}", {"receiver": receiver})


async def sweep(database: Database, after: timedelta) -> None:
    clock = SettableClock(system_clock() + after)
    await BacklogMetrics(database, clock).sweep()


async def test_notification_that_no_relay_takes_up_is_warned_of(database, caplog):
    await insert(database, notification(1, new_id(), new_id()))
    await sweep(database, timedelta(seconds=50))
    assert caplog.records == []
    await sweep(database, timedelta(seconds=100))
    assert "no relay takes up notifications" in caplog.text
    assert 100 <= (metric("oldest_seconds", "outbox") or 0) < 160


async def test_metrics_show_the_backlog_of_each_receiver(database):
    await insert(database, notification(1, new_id(), new_id()), notification(2, new_id(), new_id()))
    now = system_clock()
    await database.run(lambda connection: dispatch(connection, [Route("seen", list(Kind))], now, 10))
    await database.run(lambda connection: receiver_states.disable(connection, "seen", now, "HTTP 410"))
    await sweep(database, timedelta(seconds=100))
    names = ("waiting", "dead", "receiver_disabled")
    assert [metric(name, "seen") for name in names] == [2, 0, 1]
    assert 100 <= (metric("oldest_seconds", "seen") or 0) < 160
    assert metric("oldest_seconds", "outbox") == 0
    await database.run(lambda connection: connection.execute(sa.delete(deliveries)))
    await database.run(lambda connection: receiver_states.enable(connection, "seen"))
    await sweep(database, timedelta(0))
    assert [metric(name, "seen") for name in names] == [None, None, None]
