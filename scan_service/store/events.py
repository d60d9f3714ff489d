"""The statements that read one event."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.gates import GateOpening
from scan_service.store.rows import event_of
from scan_service.store.tables import events, feed
from ticketing.admission.tickets import Event


def is_accessible(connection: Connection, event_id: UUID, organizer_id: str | None) -> bool:
    """Return whether the event exists and, unless `organizer_id` is None, belongs to that organizer."""
    query = sa.select(events.c.event_id).where(events.c.event_id == event_id)
    if organizer_id is not None:
        query = query.where(events.c.organizer_id == organizer_id)
    return connection.execute(query).first() is not None


def read_event(connection: Connection, event_id: UUID) -> Event | None:
    """Read an event; return None where it is unknown."""
    row = connection.execute(
        sa.select(sa.func.to_jsonb(events.table_valued())).where(events.c.event_id == event_id)
    ).scalar()
    return None if row is None else event_of(row)


def read_opening(connection: Connection, event_id: UUID, now: datetime) -> GateOpening | None:
    """Read the data that a gate shows when it is opened at `now`; return None where the event is unknown."""
    query = sa.select(events.c.name, events.c.organizer_id, feed.c.whole_time).where(events.c.event_id == event_id)
    row = connection.execute(query.join_from(events, feed, sa.true())).one_or_none()
    return None if row is None else GateOpening(*row, now)
