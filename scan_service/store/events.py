"""The statements that read one event."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.gates import GateOpening
from scan_service.store.recoveries import read_resend
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


def read_openings(connection: Connection, event_ids: Collection[UUID], now: datetime) -> Mapping[UUID, GateOpening]:
    """Read the data that gates of these events show when they are opened at `now`; unknown events are left out."""
    columns = (events.c.event_id, events.c.name, events.c.organizer_id, feed.c.whole_time)
    query = sa.select(*columns).where(events.c.event_id.in_(list(event_ids)))
    rows = connection.execute(query.join_from(events, feed, sa.true())).all()
    resend = read_resend(connection)
    return {row.event_id: GateOpening(row.name, row.organizer_id, row.whole_time, now, resend) for row in rows}
