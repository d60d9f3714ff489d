"""A backlog of one class of work delays no other class."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.engine import Connection

from tests.selling.rows import NOW, hold, store_event
from ticket_service.domain.events import Event
from ticket_service.domain.refund_orders import RefundOrder
from ticket_service.store import refund_orders
from ticket_service.store.holds import claim_due
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id

LIMIT = 6
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    "backlog",
    [
        {"hold_expire_time": EARLIER, "payment_id": "pi_over"},
        {"hold_expire_time": LATER, "payment_id": None},
        {"hold_expire_time": LATER, "payment_id": "pi_waiting"},
    ],
    ids=["over", "new", "waiting"],
)
async def test_classes_of_charges_take_turns(database: Database, backlog: dict[str, Any]) -> None:
    def work(connection: Connection) -> tuple[set[UUID], set[UUID]]:
        event = store_event(connection, now=NOW)
        for _ in range(2 * LIMIT):
            hold(connection, event, **backlog, due_time=EARLIER)
        others = {
            hold(connection, event, hold_expire_time=EARLIER, payment_id="pi_1", due_time=NOW),
            hold(connection, event, hold_expire_time=LATER, payment_id=None, due_time=NOW),
            hold(connection, event, hold_expire_time=LATER, payment_id="pi_2", due_time=NOW),
        }
        claimed = claim_due(connection, "stripe", NOW, NOW + timedelta(seconds=10), LIMIT)
        assert len(claimed) == LIMIT
        return {purchase.purchase_id for purchase in claimed} & others, others

    claimed, others = await database.run(work)
    # The third one is the last of its own backlog.
    assert len(claimed) == len(others) - 1


def order(event: Event, due_time: datetime, attempts: int, provider: str = "stripe") -> RefundOrder:
    return RefundOrder(
        event_id=event.event_id,
        order_id=new_id(),
        purchase_id=new_id(),
        cancellation_id=new_id(),
        provider=provider,
        payment_id="pi_1",
        currency="EUR",
        amount=1,
        create_time=NOW,
        due_time=due_time,
        attempts=attempts,
    )


async def test_repeated_refunds_do_not_delay_first_ones(database: Database) -> None:
    def work(connection: Connection) -> list[int]:
        event = store_event(connection, now=NOW)
        for _ in range(2 * LIMIT):
            refund_orders.insert(connection, order(event, EARLIER, attempts=3))
        refund_orders.insert(connection, order(event, NOW, attempts=0))
        return [one.attempts for one in refund_orders.lock_due(connection, "stripe", NOW, LIMIT)]

    claimed = await database.run(work)
    assert sorted(claimed) == [0, *[3] * (LIMIT - 1)]


async def test_refunds_of_an_unconfigured_provider_wait_untried(database: Database) -> None:
    def work(connection: Connection) -> tuple[int, int, list[RefundOrder]]:
        event = store_event(connection, now=NOW)
        refund_orders.insert(connection, order(event, EARLIER, attempts=0, provider="other"))
        until = NOW + timedelta(minutes=15)
        first, second = [refund_orders.postpone_others(connection, ["stripe"], NOW, until) for _ in range(2)]
        return first, second, refund_orders.lock_due(connection, "other", until, LIMIT)

    first, second, [waiting] = await database.run(work)
    assert (first, second) == (1, 0)
    assert (waiting.attempts, waiting.due_time) == (0, NOW + timedelta(minutes=15))
