"""A relay with receivers of the test, and notifications for it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from tests.environment.waiting import until
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.relay import Relay
from ticket_service.delivery.settings import DeliveryTerms
from ticket_service.delivery.store.backlog import count_backlogs, count_outbox_rows
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.store import outbox
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.tasks import Tasks

TERMS = DeliveryTerms(
    deadline_seconds=5,
    retry_seconds=0.01,
    max_attempts=20,
    interval_seconds=0.01,
    drain_seconds=0,
    kept_for=timedelta(days=7),
)


@dataclass
class FakeReceiver:
    """A receiver that accepts every delivery, unless `rejects` raises."""

    name: str = "listener"
    kinds: Sequence[Kind] = tuple(Kind)
    by_purchase: bool = False
    max_parallel: int = 10
    preparation_seconds: float = 0.0
    rejects: Callable[[Delivery], object] = lambda delivery: None
    hangs: Callable[[Delivery], bool] = lambda delivery: False
    tried: list[Delivery] = field(default_factory=list)
    taken: list[Delivery] = field(default_factory=list)
    is_closed: bool = False

    async def deliver(self, delivery: Delivery) -> None:
        self.tried.append(delivery)
        if self.hangs(delivery):
            await asyncio.Event().wait()
        self.rejects(delivery)
        self.taken.append(delivery)

    async def close(self) -> None:
        self.is_closed = True

    def numbers(self) -> list[Any]:
        return [delivery.notification.data["n"] for delivery in self.taken]


def rejecting(times: int, numbers: Sequence[int], **how: Any) -> Callable[[Delivery], object]:
    """Reject the first tries of some notifications."""
    tries: dict[object, int] = defaultdict(int)

    def refuse(delivery: Delivery) -> None:
        number = delivery.notification.data["n"]
        tries[number] += 1
        if number in numbers and tries[number] <= times:
            raise UndeliveredError("not now", **how)

    return refuse


def notification(n: int, purchase_id: UUID, event_id: UUID, kind: Kind = Kind.TICKET_REISSUED) -> Notification:
    return Notification(event_id, kind, purchase_id, user_id="alice", data={"n": n})


async def insert(database: Database, *new: Notification) -> None:
    await database.run(lambda connection: outbox.write(connection, new, system_clock()))


@asynccontextmanager
async def running_relay(
    database: Database, *receivers: FakeReceiver, terms: DeliveryTerms = TERMS
) -> AsyncIterator[Relay]:
    relay = Relay(database, receivers, terms, system_clock, Tasks())
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


async def until_delivered(database: Database) -> None:
    """Wait until nothing waits for delivery."""

    def left(connection: Connection) -> int:
        return count_outbox_rows(connection) + sum(backlog.waiting for backlog in count_backlogs(connection))

    await until(lambda: database.run(left), 0)
