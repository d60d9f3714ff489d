"""The statements that read and confirm the reports of check-ins and incidents."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.feed import CheckInReport, IncidentReport
from scan_service.store.tables import tickets
from ticketing.chassis.arrays import array

# The statement first locks the tickets in the order of their ids, as every batch does. A ticket that another session has
# locked is reported again, and delays no other one.
_MARK: Final = sa.text("""
    WITH confirmed AS (
        SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:sequences AS bigint[]))
            AS confirmed(event_id, ticket_id, confirmed_sequence)
    ), locked AS (
        SELECT t.event_id, t.ticket_id, confirmed_sequence FROM tickets t JOIN confirmed USING (event_id, ticket_id)
        ORDER BY t.ticket_id FOR UPDATE OF t SKIP LOCKED
    )
    UPDATE tickets t SET reported_sequence = greatest(t.reported_sequence, locked.confirmed_sequence)
    FROM locked WHERE t.event_id = locked.event_id AND t.ticket_id = locked.ticket_id
""")

# The statement uses the index of unreported incidents. An incident without scans has ended: a later scan explained it.
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


def read_unreported_check_ins(connection: Connection, limit: int) -> Sequence[CheckInReport]:
    """Return up to `limit` check-ins that the ticket service has not confirmed."""
    # Messages carry ids as text: PostgreSQL formats a UUID in a tenth of the time that Python takes.
    ids = (sa.cast(column, sa.Text) for column in (tickets.c.event_id, tickets.c.ticket_id))
    columns = (*ids, tickets.c.check_in_time, tickets.c.sequence)
    query = sa.select(*columns).where(tickets.c.sequence > tickets.c.reported_sequence).limit(limit)
    return [CheckInReport(*row) for row in connection.execute(query)]


def mark_check_ins_reported(connection: Connection, check_ins: Sequence[CheckInReport]) -> int:
    """Record that the ticket service has confirmed check-ins; return the number of those that were not locked.

    Later changes of them are reported again.
    """
    return connection.execute(
        _MARK,
        {
            "event_ids": array(check_in.event_id for check_in in check_ins),
            "ticket_ids": array(check_in.ticket_id for check_in in check_ins),
            "sequences": array(check_in.sequence for check_in in check_ins),
        },
    ).rowcount


def read_unreported_incidents(connection: Connection, limit: int) -> Sequence[IncidentReport]:
    """Return up to `limit` incidents with scans that the ticket service has not confirmed."""
    return [IncidentReport(*row) for row in connection.execute(_UNREPORTED_INCIDENTS, {"limit": limit})]


def mark_incidents_reported(connection: Connection, incidents: Sequence[IncidentReport]) -> None:
    """Record that the ticket service has confirmed incidents; later changes of them are not reported again."""
    keys = {
        "event_ids": array(incident.event_id for incident in incidents),
        "incident_ids": array(incident.incident_id for incident in incidents),
    }
    connection.execute(_MARK_INCIDENTS, keys)
