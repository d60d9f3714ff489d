"""The statements behind the metrics of the database; none reads a table that grows with the tickets, except by an index."""

from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.figures import Figures
from scan_service.domain.incidents import IncidentKind
from scan_service.store.tables import devices, events, feed, incidents, tickets

# Events count so long after their end: devices may upload until then and later.
COUNTED_AFTER_END: Final = timedelta(days=1)
# The maximum of counted rows of one kind.
MAX_COUNT: Final = 50_000


def read_figures(connection: Connection) -> Figures:
    """Read all figures, by the clock of the database."""
    now = sa.func.now()
    enrolled = sa.and_(devices.c.enroll_time.is_not(None), devices.c.revoke_time.is_(None))
    counted = sa.select(
        sa.func.count().filter(enrolled, devices.c.connected_until > now), sa.func.count().filter(enrolled)
    ).select_from(devices)
    connected_devices, enrolled_devices = connection.execute(counted).one()
    by_kind = (
        sa.select(incidents.c.kind, sa.func.count())
        .join(events, events.c.event_id == incidents.c.event_id)
        .where(events.c.valid_until_time > now - COUNTED_AFTER_END)
        .group_by(incidents.c.kind)
    )
    return Figures(
        connection.execute(sa.select(feed.c.whole_time)).scalar_one(),
        connected_devices,
        enrolled_devices,
        _count(connection, tickets, tickets.c.sequence > tickets.c.reported_sequence),
        _count(connection, incidents, sa.not_(incidents.c.reported)),
        {IncidentKind(kind): count for kind, count in connection.execute(by_kind)},
    )


def _count(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    """Count rows by a partial index, up to MAX_COUNT."""
    bounded = sa.select(sa.literal(1)).select_from(table).where(condition).limit(MAX_COUNT).subquery()
    count: int = connection.execute(sa.select(sa.func.count()).select_from(bounded)).scalar_one()
    return count
