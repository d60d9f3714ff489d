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
from scan_service.store.write_ahead_log import LOG_COLUMNS, log_of

# The tickets of one message, about 100 bytes each: a slow network carries them within a second or two.
MAX_ROWS: Final = 1_000
_SNAPSHOT: Final = sa.text(f"""
    SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest,
           CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) AS next_one,
           {LOG_COLUMNS}
""")


def read_changes(connection: Connection, event_id: UUID, after: Cursor | None) -> Changes | None:
    """Return the changes after `after`, or all tickets where `after` is None or unusable; None for an unknown event.

    At most MAX_ROWS are returned; then the cursor names the last one, and the next call returns the next page. Every
    page is read in a snapshot of its own. The horizon is that of the first page, so changes since are read again.

    The place of `after` is not used: `Changes.log` shows whether this server has everything of it.

    The transaction must be REPEATABLE READ, so that all statements read one snapshot.
    """
    event = read_event(connection, event_id)
    if event is None:
        return None
    # The snapshot exists already, so the log has the records of all that it contains.
    snapshot = connection.execute(_SNAPSHOT).one()
    oldest, log = snapshot.oldest, log_of(snapshot)
    epoch = connection.execute(sa.select(feed.c.changes_epoch)).scalar_one()
    # A horizon in the future belongs to another database, or to transactions that this one has lost.
    is_ahead = after is not None and after.epoch == epoch and after.latest > snapshot.next_one
    restart = after is None or after.epoch != epoch or is_ahead
    order = (tickets.c.changed_by, tickets.c.ticket_id)
    query = sa.select(tickets.c.changed_by, *(tickets.c[name] for name in TICKET_COLUMNS))
    query = query.where(tickets.c.event_id == event_id)
    if after is not None and not restart:
        if after.row is None:
            query = query.where(tickets.c.changed_by >= after.horizon)
        else:
            # The first condition is the one that the index serves.
            query = query.where(tickets.c.changed_by >= after.row[0], sa.tuple_(*order) > sa.tuple_(*after.row))
            oldest = after.horizon
    rows = connection.execute(query.order_by(*order).limit(MAX_ROWS + 1)).all()
    page = rows[:MAX_ROWS]
    last = (page[-1].changed_by, page[-1].ticket_id) if len(rows) > MAX_ROWS else None
    return Changes(
        rules=GateRules(event, read_keys(connection)),
        tickets=[(ticket_of(tuple(row)[1:]), row.changed_by) for row in page],
        cursor=Cursor(epoch, oldest, last, log.place),
        log=log,
        restart=restart,
        is_ahead=is_ahead,
    )
