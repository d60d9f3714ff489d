"""Statements that take notifications from the outbox: each becomes one delivery for each receiver of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.delivery.receiver import Delivery
from ticket_service.delivery.store.deliveries import as_delivery
from ticket_service.domain.notifications import Kind

# Oldest first: a long backlog of one event delays no newer notification for longer than any other backlog does. The
# remaining rows of a ticket are later than its taken rows, because their positions are higher.
_DELETE: Final = """
    DELETE FROM outbox WHERE (event_id, position) IN (
        SELECT event_id, position FROM outbox ORDER BY position LIMIT :limit
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
    FROM taken ORDER BY position
""")  # noqa: S608 - made of constants
_DISPATCH: Final = sa.text(f"""
    WITH route AS (
        SELECT * FROM unnest(CAST(:receivers AS text[]), CAST(:kinds AS text[]), CAST(:by_purchase AS boolean[]))
            AS route (receiver, kind, by_purchase)
    ), taken AS (
        {_TAKEN}
    ), kept AS (
        INSERT INTO notifications (
            event_id, position, notification_id, kind, purchase_id, ticket_id, user_id, data, create_time,
            receivers, receivers_by_purchase
        )
        SELECT event_id, position, notification_id, kind, purchase_id, ticket_id, user_id, data, create_time,
               receivers, receivers_by_purchase
        FROM taken JOIN (
            SELECT kind, array_agg(receiver ORDER BY receiver) AS receivers,
                   coalesce(array_agg(receiver ORDER BY receiver) FILTER (WHERE by_purchase), '{{}}')
                       AS receivers_by_purchase
            FROM route GROUP BY kind
        ) AS routes USING (kind)
        WHERE :keeps
        ON CONFLICT DO NOTHING
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
               -- Relays claim by due_time, so the oldest notification comes first. The clock of its writer may be ahead.
               receiver, {_STREAM.format(purchase="its_purchase")}, least(create_time, :now), 0, ''
        FROM addressed
        -- The outbox contains a repetition of a notification that is not delivered yet.
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM taken
""")  # noqa: S608 - made of constants

# An arbitrary number, which all relays must share.
_LOCK: Final = 7_205_759_403_792_795


@dataclass(frozen=True, slots=True)
class Route:
    """The kinds of notifications that one receiver gets."""

    receiver: str
    kinds: Sequence[Kind]
    # A notification about a whole event becomes one delivery for each purchase of the event.
    by_purchase: bool = False


def dispatch(connection: Connection, routes: Sequence[Route], now: datetime, limit: int, *, keeps: bool = False) -> int:
    """Turn up to `limit` rows of the outbox into deliveries; return the number of rows.

    One relay dispatches at a time, so that a later row of a ticket never becomes a delivery before an earlier row. The
    result is 0 while another relay dispatches. `keeps`: store the notifications, so that they can be sent again.
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
        "keeps": keeps,
    }
    taken: int = connection.execute(_DISPATCH, parameters).scalar_one()
    return taken


def take_outbox_rows(connection: Connection, receiver: str, limit: int) -> list[Delivery]:
    """Remove up to `limit` rows from the outbox, in order, for delivery to `receiver` within this transaction."""
    if not _lock_outbox(connection):
        return []
    return [as_delivery(row) for row in connection.execute(_TAKE_ROWS, {"receiver": receiver, "limit": limit})]


def delete_outbox_rows(connection: Connection, limit: int) -> int:
    """Delete up to `limit` rows of the outbox that no receiver gets; return the number of rows."""
    return connection.execute(_DELETE_ROWS, {"limit": limit}).rowcount if _lock_outbox(connection) else 0


def _lock_outbox(connection: Connection) -> bool:
    """Lock the outbox until the transaction ends; return False while another relay has the lock."""
    is_locked: bool = connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))).scalar_one()
    return is_locked
