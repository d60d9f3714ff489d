"""Statements that apply reports of check-ins. They take no revision, because the gates sent the check-ins."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.check_ins import CheckIn, ReportedTicket
from ticket_service.domain.tickets import TicketStatus
from ticket_service.store.tables import tickets
from ticketing.chassis.arrays import array, ids, times

# The statement returns the ordinal of each report: Python reads two ids slower than PostgreSQL finds the row.
_LOCK: Final = sa.text("""
    SELECT report.n, tickets.status, tickets.check_in_sequence
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]))
        WITH ORDINALITY AS report (event_id, ticket_id, n)
    JOIN tickets USING (event_id, ticket_id)
    ORDER BY tickets.event_id, tickets.ticket_id
    FOR NO KEY UPDATE OF tickets
""")
_LOCK_FREE: Final = sa.text(f"{_LOCK} SKIP LOCKED")
# A statement that skips a row cannot return it.
_FIND: Final = sa.text("""
    SELECT report.n
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]))
        WITH ORDINALITY AS report (event_id, ticket_id, n)
    JOIN tickets USING (event_id, ticket_id)
""")
_APPLY: Final = sa.text("""
    UPDATE tickets
    SET check_in_time = report.check_in_time, check_in_sequence = report.sequence, update_time = :now
    FROM unnest(
        CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]),
        CAST(:times AS timestamptz[]), CAST(:sequences AS bigint[])
    ) AS report (event_id, ticket_id, check_in_time, sequence)
    WHERE tickets.event_id = report.event_id AND tickets.ticket_id = report.ticket_id
""")


def lock(
    connection: Connection, reports: Sequence[CheckIn], *, skip_locked: bool = False
) -> dict[tuple[UUID, UUID], ReportedTicket]:
    """Lock the reported tickets in the order of their ids; return their stored state.

    With `skip_locked`, tickets that another session has locked are left out.
    """
    stored = {}
    for n, status, sequence in connection.execute(_LOCK_FREE if skip_locked else _LOCK, _keys(reports)):
        report = reports[n - 1]
        stored[report.event_id, report.ticket_id] = ReportedTicket(TicketStatus(status), sequence)
    return stored


def find(connection: Connection, reports: Sequence[CheckIn]) -> frozenset[tuple[UUID, UUID]]:
    """Return the event id and the ticket id of each reported ticket that exists, locked or not."""
    found = (reports[n - 1] for n in connection.execute(_FIND, _keys(reports)).scalars())
    return frozenset((report.event_id, report.ticket_id) for report in found)


def list_known(connection: Connection, after: tuple[UUID, UUID], limit: int) -> list[CheckIn]:
    """Return the latest report of up to `limit` tickets that have one, by event and ticket."""
    key = sa.tuple_(tickets.c.event_id, tickets.c.ticket_id)
    query = (
        sa.select(tickets.c.event_id, tickets.c.ticket_id, tickets.c.check_in_time, tickets.c.check_in_sequence)
        .where(key > sa.tuple_(*(sa.literal(one, sa.UUID) for one in after)), tickets.c.check_in_sequence > 0)
        .order_by(tickets.c.event_id, tickets.c.ticket_id)
        .limit(limit)
    )
    return [CheckIn(*row) for row in connection.execute(query)]


def apply(connection: Connection, reports: Sequence[CheckIn], now: datetime) -> None:
    """Store one report for each locked ticket."""
    if not reports:
        return
    values = {
        "times": times([report.check_in_time for report in reports]),
        "sequences": array([report.sequence for report in reports]),
    }
    connection.execute(_APPLY, {**_keys(reports), **values, "now": now})


def _keys(reports: Sequence[CheckIn]) -> dict[str, str]:
    return {
        "event_ids": ids(report.event_id for report in reports),
        "ticket_ids": ids(report.ticket_id for report in reports),
    }
