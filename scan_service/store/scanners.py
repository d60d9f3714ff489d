"""The statement that erases a user from the scans, a bounded number of rows at a time.

No index contains the user: it would cost every scan an entry, and erasures are rare.
"""

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_ERASE: Final = sa.text("""
    WITH part AS MATERIALIZED (
        SELECT event_id, scan_id, scanner_user_id FROM scans WHERE (event_id, scan_id) > (:event_id, :scan_id)
        ORDER BY event_id, scan_id LIMIT :limit
    ), named AS MATERIALIZED (
        SELECT scans.event_id, scans.scan_id FROM scans JOIN part USING (event_id, scan_id)
        -- An older version stored user ids as their tokens spelled them.
        WHERE normalize(part.scanner_user_id, NFC) = :user_id
        ORDER BY scans.event_id, scans.scan_id FOR UPDATE OF scans
    ), erased AS (
        UPDATE scans SET scanner_user_id = '' FROM named
        WHERE scans.event_id = named.event_id AND scans.scan_id = named.scan_id
        RETURNING scans.scan_id
    )
    SELECT (SELECT count(*) FROM erased) AS erased, (SELECT count(*) FROM part) AS seen, last.event_id, last.scan_id
    FROM (VALUES (1)) AS one
    LEFT JOIN (SELECT event_id, scan_id FROM part ORDER BY event_id DESC, scan_id DESC LIMIT 1) AS last ON true
""")


def erase_scanner(
    connection: Connection, user_id: str, after: tuple[UUID, UUID], limit: int
) -> tuple[int, tuple[UUID, UUID] | None]:
    """Erase a user from up to `limit` scans after a position; return their number and the position of the last one.

    The position is None where no scan follows.
    """
    parameters = {"user_id": user_id, "event_id": after[0], "scan_id": after[1], "limit": limit}
    row = connection.execute(_ERASE, parameters).one()
    return row.erased, (row.event_id, row.scan_id) if row.seen == limit else None
