"""Insert notifications into the outbox, in the transaction of the change that they report.

A change writes one row, however many receivers exist: `ticket_service.delivery.store.dispatch` makes its deliveries.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.notifications import Notification
from ticket_service.store.sale_counters import count_changes
from ticketing.chassis.arrays import array, ids
from ticketing.chassis.database import after_commit
from ticketing.chassis.ids import new_id

# The row of a ticket supplies its purchase and its holder.
_WRITE: Final = sa.text("""
    INSERT INTO outbox (event_id, notification_id, kind, purchase_id, ticket_id, user_id, data, create_time)
    SELECT new.event_id, new.notification_id, new.kind, coalesce(new.purchase_id, tickets.purchase_id),
           new.ticket_id, coalesce(new.user_id, tickets.user_id), CAST(new.data AS jsonb), :now
    FROM unnest(
        CAST(:event_ids AS uuid[]), CAST(:notification_ids AS uuid[]), CAST(:kinds AS text[]),
        CAST(:purchase_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:data AS text[])
    ) WITH ORDINALITY AS new (event_id, notification_id, kind, purchase_id, ticket_id, user_id, data, n)
    LEFT JOIN tickets ON tickets.event_id = new.event_id AND tickets.ticket_id = new.ticket_id
    ORDER BY new.n
""")


def write(connection: Connection, notifications: Sequence[Notification], now: datetime) -> None:
    """Insert notifications in their order; the transaction has locked the ticket or the event that they are about."""
    if notifications:
        after_commit(connection, partial(count_changes, notifications))
        columns = {
            "event_ids": ids(one.event_id for one in notifications),
            "notification_ids": ids(one.notification_id or new_id() for one in notifications),
            "kinds": array([one.kind for one in notifications]),
            "purchase_ids": ids(one.purchase_id for one in notifications),
            "ticket_ids": ids(one.ticket_id for one in notifications),
            "user_ids": array([one.user_id for one in notifications]),
            "data": array([json.dumps(dict(one.data)) for one in notifications]),
        }
        connection.execute(_WRITE, {**columns, "now": now})
