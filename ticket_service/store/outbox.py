"""Insert notifications into the outbox, in the transaction of the change that they report.

A sale writes one row, however many receivers exist: `ticket_service.delivery.store` makes one delivery of it for each
receiver.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.notifications import Kind, Notification
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
