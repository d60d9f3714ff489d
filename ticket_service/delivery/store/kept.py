"""Statements about the notifications that are kept so that an operator can send them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.notifications import Kind, Notification, stream_of
from ticket_service.store.tables import deliveries, notifications

# A table of a million rows takes about half a gigabyte.
MAX_KEPT: Final = 1_000_000
_FORGET: Final = sa.text("""
    WITH oldest AS (
        SELECT notification_id, position, create_time FROM notifications ORDER BY position LIMIT :limit
    )
    DELETE FROM notifications USING oldest
    WHERE notifications.notification_id = oldest.notification_id AND (
        oldest.create_time < :before
        -- Positions have gaps at most, so this bound keeps no more rows than it says.
        OR oldest.position <= (SELECT max(position) FROM notifications) - :max_kept
    )
""")
_REPLAY: Final = sa.text("""
    INSERT INTO deliveries (
        event_id, position, notification_id, kind, purchase_id, ticket_id, user_id, data, create_time,
        receiver, stream, due_time, attempts, failure
    )
    SELECT event_id, position, notification_id, kind, coalesce(purchase_id, CAST(:purchase_id AS uuid)), ticket_id, user_id, data,
           create_time, CAST(:receiver AS text), CAST(:stream AS uuid), :now, 0, ''
    FROM notifications WHERE notification_id = CAST(:notification_id AS uuid)
    -- A delivery that waits stays as it is; a dead letter becomes due again.
    ON CONFLICT (event_id, receiver, stream, notification_id)
        DO UPDATE SET due_time = :now, dead_time = NULL, attempts = 0 WHERE deliveries.dead_time IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class KeptNotification:
    """A notification that a relay dispatched, and its receivers."""

    notification: Notification
    notification_id: UUID
    create_time: datetime
    receivers: Sequence[str]
    # Those of `receivers` that get one delivery for each purchase of the event.
    receivers_by_purchase: Sequence[str]


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """A delivery that did not succeed yet."""

    notification_id: UUID
    receiver: str
    purchase_id: UUID | None
    # None: the delivery is a dead letter.
    due_time: datetime | None
    attempts: int
    failure: str


def forget(connection: Connection, before: datetime, limit: int, max_kept: int = MAX_KEPT) -> int:
    """Delete those of the oldest `limit` notifications that are older than `before` or exceed the bound; count them."""
    return connection.execute(_FORGET, {"before": before, "limit": limit, "max_kept": max_kept}).rowcount


def find_kept(
    connection: Connection, *, notification_id: UUID | None = None, purchase_id: UUID | None = None
) -> list[KeptNotification]:
    """Read the kept notifications of an id, or of a purchase, in the order of their positions."""
    key = (
        notifications.c.notification_id == notification_id
        if notification_id is not None
        else notifications.c.purchase_id == purchase_id
    )
    rows = connection.execute(sa.select(notifications).where(key).order_by(notifications.c.position))
    return [_kept(row) for row in rows]


def find_open_deliveries(connection: Connection, kept: Sequence[KeptNotification]) -> list[OpenDelivery]:
    """Read the deliveries of notifications that wait or are dead letters."""
    names = ("notification_id", "receiver", "purchase_id", "due_time", "attempts", "failure")
    query = (
        sa.select(*(deliveries.c[name] for name in names))
        .where(
            deliveries.c.event_id.in_({one.notification.event_id for one in kept}),
            deliveries.c.notification_id.in_([one.notification_id for one in kept]),
        )
        .order_by(deliveries.c.position, deliveries.c.receiver)
    )
    return [OpenDelivery(**row._asdict()) for row in connection.execute(query)]


def replay(
    connection: Connection, kept: KeptNotification, receiver: str, purchase_id: UUID | None, now: datetime
) -> bool:
    """Make one delivery of a kept notification due; return False if it waits already.

    `purchase_id`: the purchase to which a notification about a whole event is delivered, or None.
    """
    parameters = {
        "notification_id": str(kept.notification_id),
        "receiver": receiver,
        "now": now,
        "stream": str(stream_of(kept.notification, kept.notification_id, purchase_id)),
        "purchase_id": None if purchase_id is None else str(purchase_id),
    }
    return connection.execute(_REPLAY, parameters).rowcount > 0


def _kept(row: Any) -> KeptNotification:
    notification = Notification(row.event_id, Kind(row.kind), row.purchase_id, row.ticket_id, row.user_id, row.data)
    return KeptNotification(
        notification, row.notification_id, row.create_time, row.receivers, row.receivers_by_purchase
    )
