"""The statement that lists scans."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import scan_of
from scan_service.store.tables import scans
from ticketing.admission.scans import Scan, ScanQuery


def read_scans(connection: Connection, query: ScanQuery) -> Sequence[Scan]:
    """Return up to one scan more than `query.size`, newest first."""
    select = sa.select(sa.func.to_jsonb(scans.table_valued())).where(scans.c.event_id == query.event_id)
    if query.ticket_id is not None:
        select = select.where(scans.c.ticket_id == query.ticket_id)
    if query.device_id:
        select = select.where(scans.c.device_id == query.device_id)
    if query.verdict is not None:
        select = select.where(scans.c.verdict == query.verdict)
    if query.code:
        select = select.where(scans.c.code == query.code)
    position = (scans.c.record_time, scans.c.scan_id)
    if query.after is not None:
        select = select.where(sa.tuple_(*position) < sa.tuple_(*(sa.literal(part) for part in query.after)))
    select = select.order_by(*(column.desc() for column in position)).limit(query.size + 1)
    return [scan_of(row) for row in connection.execute(select).scalars()]
