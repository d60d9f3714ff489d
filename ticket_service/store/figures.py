"""The statements behind the metrics of the database.

None reads a table that grows with the tickets, except by a partial index of unfinished work. Counts have a bound.
"""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.figures import Backlog, EventPlaces, Figures, places_left
from ticket_service.store.owed_refunds import count_owed
from ticket_service.store.tables import (
    cancellations,
    erasures,
    event_cancellations,
    events,
    offers,
    purchases,
    reissues,
    unmatched_payments,
)

# The events on sale that start next, and those that started within the last day.
MAX_EVENTS: Final = 20
STARTED: Final = timedelta(days=1)
# The maximum of counted rows of one kind.
MAX_COUNT: Final = 50_000
# Each owed refund is joined with its order: 40,000 took seconds on a busy machine.
MAX_OWED: Final = 10_000

_PENDING: Final = {
    "cancellations": cancellations,
    "reissues": reissues,
    "event_cancellations": event_cancellations,
    "erasures": erasures,
}


def read_figures(connection: Connection, now: datetime) -> Figures:
    """Read all figures."""
    holds, expire_time = _count(connection, purchases, purchases.c.hold_expire_time)
    pending = {kind: Backlog(*_count(connection, table, table.c.create_time)) for kind, table in _PENDING.items()}
    owed = {status: Backlog(count, since) for status, count, since in count_owed(connection, MAX_OWED)}
    unmatched: int = connection.execute(
        sa.select(sa.func.count())
        .select_from(unmatched_payments)
        .where(unmatched_payments.c.refunded < unmatched_payments.c.amount)
    ).scalar_one()
    overdue = expire_time if expire_time is not None and expire_time < now else None
    return Figures(holds, overdue, pending, owed, unmatched, _events_on_sale(connection, now))


def _count(connection: Connection, table: sa.Table, time: sa.Column[datetime]) -> tuple[int, datetime | None]:
    """Count the due rows of a table by its partial index; return their number and the earliest time."""
    due = sa.select(time.label("time")).where(table.c.due_time.is_not(None)).limit(MAX_COUNT).subquery()
    row = connection.execute(sa.select(sa.func.count(), sa.func.min(due.c.time))).one()
    return row[0], row[1]


def _events_on_sale(connection: Connection, now: datetime) -> list[EventPlaces]:
    """Read the next events by the index on status and start."""
    query = (
        sa.select(events.c.event_id, events.c.name, events.c.max_participants, events.c.reserved)
        .where(events.c.status == "PUBLISHED", events.c.start_time > now - STARTED, events.c.end_time > now)
        .order_by(events.c.start_time)
        .limit(MAX_EVENTS)
    )
    found = connection.execute(query).all()
    price_lists: dict[UUID, list[tuple[int | None, int]]] = defaultdict(list)
    of_these = sa.select(offers.c.event_id, offers.c.capacity, offers.c.reserved).where(
        offers.c.event_id.in_([row.event_id for row in found])
    )
    for event_id, capacity, reserved in connection.execute(of_these):
        price_lists[event_id].append((capacity, reserved))
    return [
        EventPlaces(
            row.event_id,
            row.name,
            row.reserved,
            places_left(row.max_participants, row.reserved, price_lists[row.event_id]),
        )
        for row in found
    ]
