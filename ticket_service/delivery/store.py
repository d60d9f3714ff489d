"""Statements of the delivery: dispatch the outbox, claim deliveries and record their outcomes, read the purchase of a mail.

The relay dispatches the outbox: a row becomes one delivery for each receiver. The relay then claims a delivery for a
while, and deletes the delivery, postpones it, or makes it a dead letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.delivery.receiver import Delivery
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.purchases import Purchase
from ticket_service.store.purchases import find_purchases
from ticket_service.store.tables import deliveries, outbox, purchases

# The order by event and position ensures that the remaining rows of a ticket are later than its taken rows.
_DELETE: Final = """
    DELETE FROM outbox WHERE (event_id, position) IN (
        SELECT event_id, position FROM outbox ORDER BY event_id, position LIMIT :limit
    )
"""
_DELETE_ROWS: Final = sa.text(_DELETE)
_TAKEN: Final = f"{_DELETE} RETURNING *"
# The stream of a notification is the purchase, otherwise the event. An incident about no known ticket has a stream of
# its own, because no other notification depends on the incident.
_STREAM: Final = f"""
    coalesce({{purchase}}, CASE kind WHEN '{Kind.INCIDENT}' THEN notification_id ELSE event_id END)
"""
_TAKE_ROWS: Final = sa.text(f"""
    WITH taken AS ({_TAKEN})
    SELECT *, CAST(:receiver AS text) AS receiver, 1 AS attempts, {_STREAM.format(purchase="purchase_id")} AS stream
    FROM taken ORDER BY event_id, position
""")  # noqa: S608 - made of constants
_DISPATCH: Final = sa.text(f"""
    WITH route AS (
        SELECT * FROM unnest(CAST(:receivers AS text[]), CAST(:kinds AS text[]), CAST(:by_purchase AS boolean[]))
            AS route (receiver, kind, by_purchase)
    ), taken AS (
        {_TAKEN}
    ), addressed AS (
        SELECT receiver, purchase_id AS its_purchase, taken.*
        FROM taken JOIN route USING (kind) WHERE NOT (by_purchase AND purchase_id IS NULL)
        UNION ALL
        SELECT receiver, buyers.purchase_id, taken.*
        FROM taken JOIN route USING (kind)
        CROSS JOIN LATERAL (
            SELECT DISTINCT tickets.purchase_id FROM tickets
            WHERE tickets.event_id = taken.event_id AND tickets.create_time <= taken.create_time
              AND (tickets.status IN ('ACTIVE', 'BLOCKED') OR tickets.update_time >= taken.create_time)
        ) AS buyers
        WHERE by_purchase AND taken.purchase_id IS NULL
    ), addressed_rows AS (
        INSERT INTO deliveries (
            event_id, position, notification_id, kind, purchase_id, ticket_id, user_id, data, create_time,
            receiver, stream, due_time, attempts, failure
        )
        SELECT event_id, position, notification_id, kind, its_purchase, ticket_id, user_id, data, create_time,
               receiver, {_STREAM.format(purchase="its_purchase")}, :now, 0, ''
        FROM addressed
        -- The outbox contains a repetition of a notification that is not delivered yet.
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM taken
""")  # noqa: S608 - made of constants
# Only the first delivery of each stream can be claimed: the later ones wait while it is claimed or waits for its next
# try. A dead letter blocks no other delivery. MATERIALIZED, because PostgreSQL might otherwise lock the rows once for
# each row of the join.
_CLAIM: Final = sa.text("""
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

# An arbitrary number, which all relays must share.
_LOCK: Final = 7_205_759_403_792_795


@dataclass(frozen=True, slots=True)
class Route:
    """The kinds of notifications that one receiver gets."""

    receiver: str
    kinds: Sequence[Kind]
    # A notification about a whole event becomes one delivery for each purchase of the event.
    by_purchase: bool = False


@dataclass(frozen=True, slots=True)
class ReceiverBacklog:
    """The number of notifications that one receiver did not get yet."""

    receiver: str
    waiting: int
    # The create_time of the oldest waiting notification.
    oldest_time: datetime | None
    dead: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that failed for good."""

    delivery: Delivery
    dead_time: datetime
    failure: str


def dispatch(connection: Connection, routes: Sequence[Route], now: datetime, limit: int) -> int:
    """Turn up to `limit` rows of the outbox into deliveries; return the number of rows.

    One relay dispatches at a time, so that a later row of a ticket never becomes a delivery before an earlier row. The
    result is 0 while another relay dispatches.
    """
    if not _lock_outbox(connection):
        return 0
    pairs = [(route, kind) for route in routes for kind in route.kinds]
    parameters = {
        "receivers": [route.receiver for route, _ in pairs],
        "kinds": [kind.value for _, kind in pairs],
        "by_purchase": [route.by_purchase for route, _ in pairs],
        "now": now,
        "limit": limit,
    }
    taken: int = connection.execute(_DISPATCH, parameters).scalar_one()
    return taken


def take_outbox_rows(connection: Connection, receiver: str, limit: int) -> list[Delivery]:
    """Remove up to `limit` rows from the outbox, in order, for delivery to `receiver` within this transaction."""
    if not _lock_outbox(connection):
        return []
    return [_delivery(row) for row in connection.execute(_TAKE_ROWS, {"receiver": receiver, "limit": limit})]


def delete_outbox_rows(connection: Connection, limit: int) -> int:
    """Delete up to `limit` rows of the outbox that no receiver gets; return the number of rows."""
    return connection.execute(_DELETE_ROWS, {"limit": limit}).rowcount if _lock_outbox(connection) else 0


def count_outbox_rows(connection: Connection) -> int:
    """Count the rows of the outbox that no relay has dispatched yet."""
    count: int = connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one()
    return count


def claim_due(connection: Connection, receiver: str, now: datetime, until: datetime, limit: int) -> list[Delivery]:
    """Claim the first due delivery of up to `limit` streams; no other relay tries them before `until`."""
    parameters = {"receiver": receiver, "now": now, "until": until, "limit": limit}
    return [_delivery(row) for row in connection.execute(_CLAIM, parameters)]


def delete_delivered(connection: Connection, delivered: Sequence[Delivery]) -> None:
    """Delete deliveries that succeeded."""
    if delivered:
        connection.execute(sa.delete(deliveries).where(_is_one_of(delivered)))


def postpone(connection: Connection, delivery: Delivery, until: datetime, failure: str) -> None:
    """Store that a delivery failed, and when the relay tries it again."""
    statement = sa.update(deliveries).where(_is_one_of([delivery]))
    connection.execute(statement.values(due_time=until, failure=failure))


def make_dead_letter(connection: Connection, delivery: Delivery, now: datetime, failure: str) -> None:
    """Store that a delivery failed for good."""
    statement = sa.update(deliveries).where(_is_one_of([delivery]))
    connection.execute(statement.values(due_time=None, dead_time=now, failure=failure))


def replay_dead_letters(connection: Connection, now: datetime) -> int:
    """Make every dead letter due again; return the number of them."""
    statement = sa.update(deliveries).where(deliveries.c.dead_time.is_not(None))
    return connection.execute(statement.values(due_time=now, dead_time=None, attempts=0)).rowcount


def find_dead_letters(connection: Connection) -> list[DeadLetter]:
    """Read all dead letters, oldest first."""
    query = sa.select(deliveries).where(deliveries.c.dead_time.is_not(None)).order_by(deliveries.c.dead_time)
    return [DeadLetter(_delivery(row), row.dead_time, row.failure) for row in connection.execute(query)]


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


def find_purchase(connection: Connection, event_id: UUID, purchase_id: UUID | None) -> Purchase | None:
    """Read the purchase of a notification."""
    found = find_purchases(connection, (purchases.c.event_id == event_id, purchases.c.purchase_id == purchase_id))
    return found[0] if found else None


def _lock_outbox(connection: Connection) -> bool:
    """Lock the outbox until the transaction ends; return False while another relay has the lock."""
    is_locked: bool = connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))).scalar_one()
    return is_locked


def _is_one_of(these: Sequence[Delivery]) -> sa.ColumnElement[bool]:
    key = (deliveries.c.event_id, deliveries.c.receiver, deliveries.c.stream, deliveries.c.notification_id)
    keys = [(one.notification.event_id, one.receiver, one.stream, one.notification_id) for one in these]
    return sa.tuple_(*key).in_(keys)


def _delivery(row: Row[Any]) -> Delivery:
    notification = Notification(row.event_id, Kind(row.kind), row.purchase_id, row.ticket_id, row.user_id, row.data)
    columns = ("notification_id", "receiver", "stream", "position", "create_time", "attempts")
    return Delivery(notification, **{name: getattr(row, name) for name in columns})
