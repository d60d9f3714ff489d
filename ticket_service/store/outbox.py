"""Statements of the outbox: what happened is written with it, and leaves for the receivers a moment later.

A sale writes one row, however many receivers there are: who they are is the relay's affair. `dispatch` turns the rows into
one delivery for each receiver that wants them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.notifications import Delivery, Kind, Notification
from ticketing.chassis.arrays import array, ids
from ticketing.chassis.ids import new_id

# The ticket says from which purchase it is and whose. Where the service itself refunds a ticket, nobody else is asked to; of a
# payment that came too late or twice it is said only where somebody else took it, whoever was paid for the purchase.
_WRITE: Final = sa.text(f"""
    INSERT INTO outbox (event_id, notification_id, kind, purchase_id, ticket_id, user_id, data, create_time)
    SELECT told.event_id, told.notification_id, told.kind, coalesce(told.purchase_id, tickets.purchase_id),
           told.ticket_id, coalesce(told.user_id, tickets.user_id), CAST(told.data AS jsonb), :now
    FROM unnest(
        CAST(:event_ids AS uuid[]), CAST(:notification_ids AS uuid[]), CAST(:kinds AS text[]),
        CAST(:purchase_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:data AS text[])
    ) WITH ORDINALITY AS told (event_id, notification_id, kind, purchase_id, ticket_id, user_id, data, n)
    LEFT JOIN tickets ON tickets.event_id = told.event_id AND tickets.ticket_id = told.ticket_id
    WHERE told.kind <> '{Kind.REFUND_REQUESTED}' OR told.ticket_id IS NULL OR EXISTS (
        SELECT FROM purchases
        WHERE purchases.event_id = told.event_id AND purchases.provider = 'external'
          AND purchases.purchase_id = coalesce(told.purchase_id, tickets.purchase_id)
    )
    ORDER BY told.n
""")  # noqa: S608 - a name of our own

# By event, each from its first row on: what is left behind of a ticket is later than what is taken.
_DELETE: Final = """
    DELETE FROM outbox WHERE (event_id, position) IN (
        SELECT event_id, position FROM outbox ORDER BY event_id, position LIMIT :limit
    )
"""
_DROP: Final = sa.text(_DELETE)
_TAKEN: Final = f"{_DELETE} RETURNING *"
# What stands in one order. An incident of no ticket that was sold changes nothing, and stands in no order with what does.
_STREAM: Final = f"""
    coalesce({{purchase}}, CASE kind WHEN '{Kind.INCIDENT}' THEN notification_id ELSE event_id END)
"""
_TAKE: Final = sa.text(f"""
    WITH taken AS ({_TAKEN})
    SELECT *, {_STREAM.format(purchase="purchase_id")} AS stream FROM taken ORDER BY event_id, position
""")  # noqa: S608 - put together of constants
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
        -- Told twice under one id, the first not delivered yet.
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM taken
""")  # noqa: S608 - a name of our own

# Any number; it must only be the same in all relays.
_LOCK: Final = 7_205_759_403_792_795


@dataclass(frozen=True, slots=True)
class Route:
    """What one receiver is told."""

    receiver: str
    kinds: Sequence[Kind]
    # What is about a whole event is told once for each purchase of it, and not once.
    by_purchase: bool = False


def write(connection: Connection, told: Iterable[Notification], now: datetime) -> None:
    """Store notifications, in order, with what they tell of; the ticket, or the event, is locked by us."""
    all_told = list(told)
    if all_told:
        columns = {
            "event_ids": ids(one.event_id for one in all_told),
            "notification_ids": ids(one.notification_id or new_id() for one in all_told),
            "kinds": array([one.kind for one in all_told]),
            "purchase_ids": ids(one.purchase_id for one in all_told),
            "ticket_ids": ids(one.ticket_id for one in all_told),
            "user_ids": array([one.user_id for one in all_told]),
            "data": array([json.dumps(dict(one.data)) for one in all_told]),
        }
        connection.execute(_WRITE, {**columns, "now": now})


def dispatch(connection: Connection, routes: Sequence[Route], now: datetime, limit: int) -> int:
    """Turn up to `most` rows of the outbox into deliveries; return how many there were.

    One relay at a time, so that no later row of a ticket becomes a delivery before an earlier one has: 0 where another
    is just at it.
    """
    if not _is_alone(connection):
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


def take(connection: Connection, receiver: str, limit: int) -> list[Delivery]:
    """Take up to `most` rows out of the outbox, in their order, to be told to `receiver` within this transaction."""
    if not _is_alone(connection):
        return []
    return [_delivery(row, receiver) for row in connection.execute(_TAKE, {"limit": limit})]


def drop(connection: Connection, limit: int) -> int:
    """Delete up to `most` rows that nobody is told of; return how many there were."""
    return connection.execute(_DROP, {"limit": limit}).rowcount if _is_alone(connection) else 0


def _is_alone(connection: Connection) -> bool:
    """Take the lock of whoever takes rows out; False where another relay has it."""
    alone: bool = connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar_one()
    return alone


def _delivery(row: Row[Any], receiver: str) -> Delivery:
    notification = Notification(row.event_id, Kind(row.kind), row.purchase_id, row.ticket_id, row.user_id, row.data)
    return Delivery(notification, row.notification_id, receiver, row.stream, row.position, row.create_time, 1)
