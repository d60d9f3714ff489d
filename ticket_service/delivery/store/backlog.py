"""Statements that count what is not delivered yet."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.store.tables import deliveries, outbox


@dataclass(frozen=True, slots=True)
class ReceiverBacklog:
    """The number of notifications that one receiver did not get yet."""

    receiver: str
    waiting: int
    # The create_time of the oldest waiting notification.
    oldest_time: datetime | None
    dead: int


def count_outbox_rows(connection: Connection) -> int:
    """Count the rows of the outbox that no relay has dispatched yet."""
    count: int = connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one()
    return count


def oldest_outbox_time(connection: Connection) -> datetime | None:
    """Return the create_time of the oldest row that no relay has dispatched yet."""
    query = sa.select(outbox.c.create_time).order_by(outbox.c.position).limit(1)
    oldest: datetime | None = connection.execute(query).scalar_one_or_none()
    return oldest


def count_backlogs(connection: Connection) -> list[ReceiverBacklog]:
    """Count the deliveries of each receiver that has any."""
    waits = deliveries.c.dead_time.is_(None)
    query = sa.select(
        deliveries.c.receiver,
        sa.func.count().filter(waits).label("waiting"),
        sa.func.min(deliveries.c.create_time).filter(waits).label("oldest_time"),
        sa.func.count().filter(sa.not_(waits)).label("dead"),
    ).group_by(deliveries.c.receiver)
    return [ReceiverBacklog(**row._asdict()) for row in connection.execute(query.order_by(deliveries.c.receiver))]
