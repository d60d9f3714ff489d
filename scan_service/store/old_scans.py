"""The statements that delete the scans of events that ended long ago."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.tables import events, scans

# The scans of incidents stay, because the incidents list them as evidence.
_DELETE: Final = sa.text("""
    WITH page AS MATERIALIZED (
        SELECT scan_id FROM scans WHERE event_id = :event_id AND scan_id > :after ORDER BY scan_id LIMIT :limit
    ), deleted AS (
        DELETE FROM scans USING page
        WHERE scans.event_id = :event_id AND scans.scan_id = page.scan_id AND NOT EXISTS (
            SELECT FROM incident_scans i WHERE i.event_id = scans.event_id AND i.scan_id = scans.scan_id
        )
        RETURNING scans.scan_id
    )
    SELECT (SELECT count(*) FROM deleted), (SELECT scan_id FROM page ORDER BY scan_id DESC LIMIT 1)
""")


def read_events_with_scans(connection: Connection, ended_before: datetime) -> Sequence[UUID]:
    """Return the ids of the events that ended before a time and have scans."""
    query = sa.select(events.c.event_id).where(
        events.c.valid_until_time < ended_before, sa.exists().where(scans.c.event_id == events.c.event_id)
    )
    return connection.execute(query.order_by(events.c.event_id)).scalars().all()


def delete_page(
    connection: Connection, event_id: UUID, ended_before: datetime, after: UUID, limit: int
) -> tuple[int, UUID | None]:
    """Delete the scans among the next `limit` ones of an event, unless they belong to an incident.

    Return the number of deleted scans, and the position of the next page: None if there is none, or if the event was
    moved and ends later now.
    """
    query = sa.select(events.c.event_id).where(events.c.event_id == event_id, events.c.valid_until_time < ended_before)
    # The lock keeps uploads of this event away, which read and replace scans.
    if connection.execute(query.with_for_update(key_share=True)).scalar() is None:
        return 0, None
    parameters = {"event_id": event_id, "after": after, "limit": limit}
    deleted, last = connection.execute(_DELETE, parameters).one()
    return deleted, last
