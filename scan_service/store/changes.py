"""The statements that read the changes of an event after a cursor, without skipping a change.

Every transaction that changes a ticket stores its id in `changed_by`. A reader selects, in one snapshot, the rows whose
id is not older than its horizon. Its next horizon is the oldest transaction in progress at the snapshot: the snapshot
contains every older one, and the next read selects all others again. Readers and writers never wait for each other.
"""

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.changes import Changes, Cursor, GateRules
from scan_service.store.events import read_event
from scan_service.store.keys import read_keys
from scan_service.store.rows import TICKET_COLUMNS, ticket_of
from scan_service.store.tables import feed, tickets

_SNAPSHOT: Final = sa.text(
    "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint),"
    " CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
)


def read_changes(connection: Connection, event_id: UUID, after: Cursor | None) -> Changes | None:
    """Return the changes after `after`, or all tickets where `after` is None or unusable; None for an unknown event.

    The transaction must be REPEATABLE READ, so that all statements read one snapshot.
    """
    event = read_event(connection, event_id)
    if event is None:
        return None
    oldest, next_one = connection.execute(_SNAPSHOT).one()
    epoch = connection.execute(sa.select(feed.c.changes_epoch)).scalar_one()
    # A horizon in the future belongs to another database.
    restart = after is None or after.epoch != epoch or after.horizon > next_one
    query = sa.select(tickets.c.changed_by, *(tickets.c[name] for name in TICKET_COLUMNS))
    query = query.where(tickets.c.event_id == event_id)
    if after is not None and not restart:
        query = query.where(tickets.c.changed_by >= after.horizon)
    rows = connection.execute(query.order_by(tickets.c.changed_by, tickets.c.ticket_id)).all()
    return Changes(
        rules=GateRules(event, read_keys(connection)),
        tickets=[(ticket_of(tuple(row)[1:]), row.changed_by) for row in rows],
        cursor=Cursor(epoch, oldest),
        restart=restart,
    )
