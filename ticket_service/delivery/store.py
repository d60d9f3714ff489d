"""Statements on deliveries: claimed for a while, then deleted, put off, or given up as dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.notifications import Delivery, Kind, Notification
from ticket_service.store.tables import deliveries, outbox

# The first of each stream alone; one that is claimed, or waits for its next try, still stands before those after it. A
# dead letter holds nobody up. Materialized: else the rows might be locked once for each that is compared.
_TAKE: Final = sa.text("""
    WITH taken AS MATERIALIZED (
        SELECT event_id, receiver, stream, notification_id FROM deliveries AS first
        WHERE receiver = :receiver AND due_time <= :now
          AND NOT EXISTS (
              SELECT FROM deliveries AS earlier
              WHERE earlier.event_id = first.event_id AND earlier.receiver = first.receiver
                AND earlier.stream = first.stream AND earlier.position < first.position AND earlier.dead_time IS NULL
          )
        ORDER BY due_time, position
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries SET due_time = :until, attempts = attempts + 1
    FROM taken
    WHERE deliveries.event_id = taken.event_id AND deliveries.receiver = taken.receiver
      AND deliveries.stream = taken.stream AND deliveries.notification_id = taken.notification_id
    RETURNING deliveries.*
""")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one receiver has not been told."""

    receiver: str
    waiting: int
    # Of the oldest that waits.
    oldest_time: datetime | None
    dead: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up."""

    delivery: Delivery
    dead_time: datetime
    failure: str


def take_due(connection: Connection, receiver: str, now: datetime, until: datetime, limit: int) -> list[Delivery]:
    """Claim deliveries that are due, of each stream the first; nobody else is to try them until then."""
    parameters = {"receiver": receiver, "now": now, "until": until, "limit": limit}
    return [_delivery(row) for row in connection.execute(_TAKE, parameters)]


def remove(connection: Connection, delivered: Sequence[Delivery]) -> None:
    """Delete what was delivered."""
    if delivered:
        connection.execute(sa.delete(deliveries).where(_are(delivered)))


def put_off(connection: Connection, delivery: Delivery, until: datetime, failure: str) -> None:
    """Store that a delivery failed, and when it is to be tried again."""
    statement = sa.update(deliveries).where(_are([delivery]))
    connection.execute(statement.values(due_time=until, failure=failure))


def give_up(connection: Connection, delivery: Delivery, now: datetime, failure: str) -> None:
    """Make a delivery a dead letter."""
    statement = sa.update(deliveries).where(_are([delivery]))
    connection.execute(statement.values(due_time=None, dead_time=now, failure=failure))


def replay(connection: Connection, now: datetime) -> int:
    """Let every dead letter be tried anew; return how many there were."""
    statement = sa.update(deliveries).where(deliveries.c.dead_time.is_not(None))
    return connection.execute(statement.values(due_time=now, dead_time=None, attempts=0)).rowcount


def dead_letters(connection: Connection) -> list[DeadLetter]:
    """Read what was given up, oldest first."""
    query = sa.select(deliveries).where(deliveries.c.dead_time.is_not(None)).order_by(deliveries.c.dead_time)
    return [DeadLetter(_delivery(row), row.dead_time, row.failure) for row in connection.execute(query)]


def backlogs(connection: Connection) -> list[Backlog]:
    """Count what each receiver has not been told."""
    waits = deliveries.c.dead_time.is_(None)
    query = sa.select(
        deliveries.c.receiver,
        sa.func.count().filter(waits).label("waiting"),
        sa.func.min(deliveries.c.create_time).filter(waits).label("oldest_time"),
        sa.func.count().filter(sa.not_(waits)).label("dead"),
    ).group_by(deliveries.c.receiver)
    return [Backlog(**row._asdict()) for row in connection.execute(query.order_by(deliveries.c.receiver))]


def undispatched(connection: Connection) -> int:
    """Count what no relay has taken up yet."""
    count: int = connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one()
    return count


def _are(these: Sequence[Delivery]) -> sa.ColumnElement[bool]:
    key = (deliveries.c.event_id, deliveries.c.receiver, deliveries.c.stream, deliveries.c.notification_id)
    return sa.tuple_(*key).in_(
        [(one.notification.event_id, one.receiver, one.stream, one.notification_id) for one in these]
    )


def _delivery(row: Row[Any]) -> Delivery:
    notification = Notification(row.event_id, Kind(row.kind), row.purchase_id, row.ticket_id, row.user_id, row.data)
    return Delivery(
        notification, row.notification_id, row.receiver, row.stream, row.position, row.create_time, row.attempts
    )
