"""What opening a gate reads."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.tables import events, feed


@dataclass(frozen=True, slots=True)
class Opening:
    """An event as it is shown on a device, and how good the copy of its tickets is."""

    event_name: str
    organizer_id: str
    # When the copy was last known to hold everything; None: not yet.
    whole_time: datetime | None


def read_opening(connection: Connection, event_id: UUID) -> Opening | None:
    """Return what a device that opens a gate is told; None for an unknown event."""
    query = sa.select(events.c.name, events.c.organizer_id, feed.c.whole_time).where(events.c.event_id == event_id)
    row = connection.execute(query.join_from(events, feed, sa.true())).one_or_none()
    return None if row is None else Opening(*row)
