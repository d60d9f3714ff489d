"""Statements that record reported incidents."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.incidents import Incident
from ticket_service.store.tables import events

_LOCK: Final = sa.text("""
    SELECT FROM tickets
    WHERE (event_id, ticket_id) IN (SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[])))
    ORDER BY event_id, ticket_id
    FOR NO KEY UPDATE
""")
# The order prevents a deadlock of two reports of the same incidents.
_RECORD: Final = sa.text("""
    INSERT INTO told_incidents (event_id, incident_id, create_time)
    SELECT event_id, incident_id, :now
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:incident_ids AS uuid[])) AS report (event_id, incident_id)
    ORDER BY event_id, incident_id
    ON CONFLICT DO NOTHING
    RETURNING event_id, incident_id
""")


def known_events(connection: Connection, reports: Sequence[Incident]) -> set[UUID]:
    """Return the ids of those reported events that exist."""
    named = {report.event_id for report in reports}
    return set(connection.execute(sa.select(events.c.event_id).where(events.c.event_id.in_(named))).scalars())


def lock_tickets(connection: Connection, reports: Collection[Incident]) -> None:
    """Lock the reported tickets, so that the notifications of one ticket keep their order."""
    of_tickets = [report for report in reports if report.ticket_id is not None]
    event_ids, ticket_ids = [str(one.event_id) for one in of_tickets], [str(one.ticket_id) for one in of_tickets]
    connection.execute(_LOCK, {"event_ids": event_ids, "ticket_ids": ticket_ids})


def record(connection: Connection, reports: Collection[Incident], now: datetime) -> list[tuple[UUID, UUID]]:
    """Record incidents; return event and incident id of each that was not recorded before."""
    keys = {
        "event_ids": [str(report.event_id) for report in reports],
        "incident_ids": [str(report.incident_id) for report in reports],
    }
    return [(row.event_id, row.incident_id) for row in connection.execute(_RECORD, {**keys, "now": now})]
