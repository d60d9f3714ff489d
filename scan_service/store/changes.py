"""The statements that find what has changed since a device was last told, without skipping a change.

Every change of what gates are told writes down its transaction's id. A reader looks, in one snapshot, for rows whose id
is not older than its horizon, and takes as its next horizon the oldest transaction that was under way then: whatever is
older has ended, so the snapshot shows it; whatever is not is looked for again. Nobody waits for anybody.
"""

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.changes import Changes, Cursor, Rules
from scan_service.store.keys import read_keys
from scan_service.store.rows import TICKET_COLUMNS, ticket_of
from scan_service.store.scan_list import read_event
from scan_service.store.tables import feed, tickets

# Both in one statement: each names a snapshot, which under REPEATABLE READ is the transaction's.
_SNAPSHOT: Final = sa.text(
    "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint),"
    " CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
)


def read_changes(connection: Connection, event_id: UUID, after: Cursor | None) -> Changes | None:
    """Return what has changed after `after`, or everything; None for an unknown event.

    The transaction is to be REPEATABLE READ: all that is read is to be of one moment.
    """
    event = read_event(connection, event_id)
    if event is None:
        return None
    oldest, next_one = connection.execute(_SNAPSHOT).one()
    epoch = connection.execute(sa.select(feed.c.changes_epoch)).scalar_one()
    # One from the future is another database's.
    restart = after is None or after.epoch != epoch or after.horizon > next_one
    query = sa.select(tickets.c.changed_by, *(tickets.c[name] for name in TICKET_COLUMNS))
    query = query.where(tickets.c.event_id == event_id)
    if after is not None and not restart:
        query = query.where(tickets.c.changed_by >= after.horizon)
    rows = connection.execute(query.order_by(tickets.c.changed_by, tickets.c.ticket_id)).all()
    return Changes(
        rules=Rules(event, read_keys(connection)),
        tickets=[(ticket_of(tuple(row)[1:]), row.changed_by) for row in rows],
        cursor=Cursor(epoch, oldest),
        restart=restart,
    )
