"""The statements of the reports of check-ins and incidents."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.feed import CheckIn, IncidentReport
from scan_service.store.tables import tickets
from ticketing.chassis.arrays import array

# Locked in the order of their ids first, as every batch does.
_MARK: Final = sa.text("""
    WITH confirmed AS (
        SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:sequences AS bigint[]))
            AS confirmed(event_id, ticket_id, confirmed_sequence)
    ), held AS (
        SELECT t.event_id, t.ticket_id, confirmed_sequence FROM tickets t JOIN confirmed USING (event_id, ticket_id)
        ORDER BY t.ticket_id FOR UPDATE OF t
    )
    UPDATE tickets t SET reported_sequence = greatest(t.reported_sequence, held.confirmed_sequence)
    FROM held WHERE t.event_id = held.event_id AND t.ticket_id = held.ticket_id
""")

# By what lies in the index of what is not reported. An incident without scans does not stand: whatever comes in may end
# it.
_UNREPORTED_INCIDENTS: Final = sa.text("""
    SELECT i.event_id::text, i.incident_id::text, i.kind, i.ticket_id::text, i.create_time, its.scan_count, its.location
    FROM incidents i CROSS JOIN LATERAL (
        SELECT count(*) AS scan_count, (array_agg(s.location ORDER BY s.scan_time DESC, s.scan_id DESC))[1] AS location
        FROM incident_scans link JOIN scans s USING (event_id, scan_id)
        WHERE link.event_id = i.event_id AND link.kind = i.kind AND link.subject = i.subject
    ) AS its
    WHERE NOT i.reported AND its.scan_count > 0
    ORDER BY i.event_id, i.incident_id
    LIMIT :limit
""")
_MARK_INCIDENTS: Final = sa.text("""
    UPDATE incidents i SET reported = true
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:incident_ids AS uuid[])) AS confirmed(event_id, incident_id)
    WHERE i.event_id = confirmed.event_id AND i.incident_id = confirmed.incident_id
""")


def unreported(connection: Connection, limit: int) -> Sequence[CheckIn]:
    """Return check-ins that the ticket service has not confirmed."""
    # Ids as the text that they are told as: PostgreSQL writes a UUID in a tenth of the time that Python takes.
    ids = (sa.cast(column, sa.Text) for column in (tickets.c.event_id, tickets.c.ticket_id))
    columns = (*ids, tickets.c.check_in_time, tickets.c.sequence)
    query = sa.select(*columns).where(tickets.c.sequence > tickets.c.reported_sequence).limit(limit)
    return [CheckIn(*row) for row in connection.execute(query)]


def mark_reported(connection: Connection, check_ins: Sequence[CheckIn]) -> None:
    """Note that the ticket service has confirmed them; what has changed since is reported again."""
    connection.execute(
        _MARK,
        {
            "event_ids": array(check_in.event_id for check_in in check_ins),
            "ticket_ids": array(check_in.ticket_id for check_in in check_ins),
            "sequences": array(check_in.sequence for check_in in check_ins),
        },
    )


def unreported_incidents(connection: Connection, limit: int) -> Sequence[IncidentReport]:
    """Return incidents that stand and that the ticket service has not confirmed."""
    return [IncidentReport(*row) for row in connection.execute(_UNREPORTED_INCIDENTS, {"limit": limit})]


def mark_incidents_reported(connection: Connection, incidents: Sequence[IncidentReport]) -> None:
    """Note that the ticket service has confirmed them; each is told once, whatever becomes of it."""
    keys = {
        "event_ids": array(incident.event_id for incident in incidents),
        "incident_ids": array(incident.incident_id for incident in incidents),
    }
    connection.execute(_MARK_INCIDENTS, keys)
