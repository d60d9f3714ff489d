"""Statements that take reports of check-ins. They take no revision: gates know already."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.check_ins import CheckIn, Known
from ticket_service.domain.tickets import TicketStatus

_LOCK: Final = sa.text("""
    SELECT event_id, ticket_id, status, check_in_sequence
    FROM tickets
    WHERE (event_id, ticket_id) IN (SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[])))
    ORDER BY event_id, ticket_id
    FOR NO KEY UPDATE
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


def lock(connection: Connection, reports: Sequence[CheckIn]) -> dict[tuple[UUID, UUID], Known]:
    """Lock the reported tickets, in the order of their ids, and return what is stored of them."""
    rows = connection.execute(_LOCK, _keys(reports))
    return {(row.event_id, row.ticket_id): Known(TicketStatus(row.status), row.check_in_sequence) for row in rows}


def apply(connection: Connection, reports: Sequence[CheckIn], now: datetime) -> None:
    """Store the reports, one a ticket."""
    if not reports:
        return
    times = [report.check_in_time for report in reports]
    sequences = [report.sequence for report in reports]
    connection.execute(_APPLY, {**_keys(reports), "times": times, "sequences": sequences, "now": now})


def _keys(reports: Sequence[CheckIn]) -> dict[str, list[str]]:
    return {
        "event_ids": [str(report.event_id) for report in reports],
        "ticket_ids": [str(report.ticket_id) for report in reports],
    }
