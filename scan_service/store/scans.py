"""The statement that reads one scan of an event."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import scan_of
from scan_service.store.tables import scans
from ticketing.admission.scans import Scan


def read_scan(connection: Connection, event_id: UUID, scan_id: UUID) -> Scan | None:
    """Read a scan by its key; return None where there is none."""
    key = (scans.c.event_id == event_id, scans.c.scan_id == scan_id)
    row = connection.execute(sa.select(sa.func.to_jsonb(scans.table_valued())).where(*key)).scalar()
    return None if row is None else scan_of(row)
