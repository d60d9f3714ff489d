"""Statements about deliveries: claim them and record their outcomes.

A relay claims a delivery for a while, and then deletes it, postpones it, or makes it a dead letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.delivery.receiver import Delivery
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.store.tables import deliveries

# Only the first delivery of each stream can be claimed. A due one that is not the first is postponed until the first one
# is due, so that it does not stay in front of the index; recording the outcome of the first one makes it due at once.
# Each claim thus reads `limit` rows, however long the backlog is and whatever PostgreSQL assumes about the table: a
# subquery with LIMIT becomes no join, and its condition matches no partial index but the primary key. An anti-join read
# the whole backlog for each claim: 40 ms with 20,000 rows, several times a second for each receiver.
# MATERIALIZED, because PostgreSQL might otherwise lock the rows once for each row of the join.
_CLAIM: Final = """
    WITH due AS MATERIALIZED (
        SELECT event_id, receiver, stream, notification_id, position FROM deliveries
        WHERE receiver = :receiver AND due_time <= :now
        ORDER BY due_time {direction}
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ), claimed AS MATERIALIZED (
        SELECT due.*, (
            SELECT due_time FROM deliveries AS earlier
            WHERE earlier.event_id = due.event_id AND earlier.receiver = due.receiver AND earlier.stream = due.stream
              AND earlier.position < due.position AND earlier.dead_time IS NULL
            ORDER BY earlier.position LIMIT 1
        ) AS first_due_time
        FROM due
    )
    UPDATE deliveries
    SET due_time = greatest(:until, first_due_time),
        attempts = attempts + CASE WHEN first_due_time IS NULL THEN 1 ELSE 0 END
    FROM claimed
    WHERE deliveries.event_id = claimed.event_id AND deliveries.receiver = claimed.receiver
      AND deliveries.stream = claimed.stream AND deliveries.notification_id = claimed.notification_id
    RETURNING deliveries.*, first_due_time IS NULL AS is_first
"""
_CLAIM_OLDEST: Final = sa.text(_CLAIM.format(direction="ASC"))
_CLAIM_NEWEST: Final = sa.text(_CLAIM.format(direction="DESC"))
# A list of keys, joined: for `key IN (...)`, PostgreSQL reads every row of the one event and receiver that the keys have
# in common, which was the whole backlog of a flash sale for each batch.
_ENDED: Final = """
    unnest(
        CAST(:event_ids AS uuid[]), CAST(:receivers AS text[]), CAST(:streams AS uuid[]),
        CAST(:notification_ids AS uuid[])
    ) AS ended (event_id, receiver, stream, notification_id)
"""
_IS_ENDED: Final = """
    deliveries.event_id = ended.event_id AND deliveries.receiver = ended.receiver
    AND deliveries.stream = ended.stream AND deliveries.notification_id = ended.notification_id
"""
_DELETE: Final = sa.text(f"DELETE FROM deliveries USING {_ENDED} WHERE {_IS_ENDED}")  # noqa: S608 - made of constants
_RELEASE: Final = sa.text(f"""
    UPDATE deliveries SET due_time = :now, failure = :failure, attempts = attempts - 1
    FROM {_ENDED} WHERE {_IS_ENDED} AND dead_time IS NULL
""")  # noqa: S608 - made of constants
_RENEW: Final = sa.text(f"""
    UPDATE deliveries SET due_time = :until FROM {_ENDED} WHERE {_IS_ENDED} AND dead_time IS NULL
""")  # noqa: S608 - made of constants
# Make the first deliveries due that are left of the streams. The condition on due_time belongs to the subquery, because
# the index on due_time could otherwise replace the primary key.
_WAKE: Final = sa.text(f"""
    UPDATE deliveries SET due_time = :now
    FROM (
        SELECT DISTINCT ON (event_id, receiver, stream)
            event_id, receiver, stream, deliveries.notification_id, due_time
        FROM deliveries JOIN {_ENDED} USING (event_id, receiver, stream)
        WHERE dead_time IS NULL
        ORDER BY event_id, receiver, stream, position
    ) AS first
    WHERE deliveries.event_id = first.event_id AND deliveries.receiver = first.receiver
      AND deliveries.stream = first.stream AND deliveries.notification_id = first.notification_id
      AND first.due_time > :now
""")  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that failed for good."""

    delivery: Delivery
    dead_time: datetime
    failure: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The deliveries that a relay claimed."""

    deliveries: Sequence[Delivery]
    # More deliveries may be due.
    has_more: bool


def claim_due(connection: Connection, receiver: str, now: datetime, until: datetime, limit: int) -> Claim:
    """Claim up to `limit` of the oldest due deliveries, each the first of its stream.

    No other relay tries them before `until`.
    """
    return _claim(connection, _CLAIM_OLDEST, {"receiver": receiver, "now": now, "until": until, "limit": limit})


def claim_newest_due(connection: Connection, receiver: str, now: datetime, until: datetime, limit: int) -> Claim:
    """Claim up to `limit` of the newest due deliveries; see `claim_due`."""
    return _claim(connection, _CLAIM_NEWEST, {"receiver": receiver, "now": now, "until": until, "limit": limit})


def renew(connection: Connection, running: Sequence[Delivery], until: datetime) -> None:
    """Keep the claims of deliveries in progress until a later time."""
    if running:
        connection.execute(_RENEW, {**_keys(running), "until": until})


def delete_delivered(connection: Connection, delivered: Sequence[Delivery], now: datetime) -> None:
    """Delete deliveries that succeeded; the next ones of their streams are due."""
    if delivered:
        connection.execute(_DELETE, _keys(delivered))
        connection.execute(_WAKE, {**_keys(delivered), "now": now})


def postpone(connection: Connection, delivery: Delivery, until: datetime, failure: str) -> None:
    """Store that a delivery failed, and when the relay tries it again."""
    statement = sa.update(deliveries).where(_is_this(delivery), deliveries.c.dead_time.is_(None))
    connection.execute(statement.values(due_time=until, failure=failure))


def release(connection: Connection, released: Sequence[Delivery], now: datetime, failure: str) -> None:
    """Make claimed deliveries due again, without counting the try."""
    if released:
        connection.execute(_RELEASE, {**_keys(released), "now": now, "failure": failure})


def make_dead_letter(connection: Connection, delivery: Delivery, now: datetime, failure: str) -> None:
    """Store that a delivery failed for good; the next one of its stream is due."""
    statement = sa.update(deliveries).where(_is_this(delivery))
    connection.execute(statement.values(due_time=None, dead_time=now, failure=failure))
    connection.execute(_WAKE, {**_keys([delivery]), "now": now})


def replay_dead_letters(connection: Connection, now: datetime) -> int:
    """Make every dead letter due again; return the number of them."""
    statement = sa.update(deliveries).where(deliveries.c.dead_time.is_not(None))
    return connection.execute(statement.values(due_time=now, dead_time=None, attempts=0)).rowcount


def find_dead_letters(connection: Connection) -> list[DeadLetter]:
    """Read all dead letters, oldest first."""
    query = sa.select(deliveries).where(deliveries.c.dead_time.is_not(None)).order_by(deliveries.c.dead_time)
    return [DeadLetter(as_delivery(row), row.dead_time, row.failure) for row in connection.execute(query)]


def as_delivery(row: Row[Any]) -> Delivery:
    """Build the delivery of a row."""
    notification = Notification(row.event_id, Kind(row.kind), row.purchase_id, row.ticket_id, row.user_id, row.data)
    columns = ("notification_id", "receiver", "stream", "position", "create_time", "attempts")
    return Delivery(notification, **{name: getattr(row, name) for name in columns})


def _claim(connection: Connection, statement: sa.TextClause, parameters: dict[str, Any]) -> Claim:
    rows = connection.execute(statement, parameters).all()
    claimed = [as_delivery(row) for row in rows if row.is_first]
    return Claim(claimed, has_more=len(rows) == parameters["limit"] and len(claimed) < len(rows))


def _keys(these: Sequence[Delivery]) -> dict[str, list[str]]:
    return {
        "event_ids": [str(one.notification.event_id) for one in these],
        "receivers": [one.receiver for one in these],
        "streams": [str(one.stream) for one in these],
        "notification_ids": [str(one.notification_id) for one in these],
    }


def _is_this(delivery: Delivery) -> sa.ColumnElement[bool]:
    return sa.and_(
        deliveries.c.event_id == delivery.notification.event_id,
        deliveries.c.receiver == delivery.receiver,
        deliveries.c.stream == delivery.stream,
        deliveries.c.notification_id == delivery.notification_id,
    )
