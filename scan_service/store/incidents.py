"""The statements on incidents, as round trips of batches and as functions on a connection in a thread."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.incidents import Incident, IncidentKind, IncidentQuery, IncidentScan
from scan_service.store.rows import scan_of
from scan_service.store.tables import incident_scans, incidents, scans
from ticketing.admission.scans import Scan
from ticketing.chassis.ids import new_id

# The maximum number of scans of a listed incident; ListScans lists the others.
MAX_SCANS: Final = 50

# Concurrent transactions insert the same rows; the order of the keys prevents deadlocks.
_ADD_INCIDENTS: Final = """
    INSERT INTO incidents (event_id, kind, subject, incident_id, ticket_id, create_time)
    SELECT DISTINCT ON (event_id, kind, subject) event_id, kind, subject, incident_id, ticket_id, create_time
    FROM jsonb_to_recordset({rows}) AS new(event_id uuid, kind text, subject uuid, incident_id uuid, ticket_id uuid,
                                           create_time timestamptz, min_scans integer)
    WHERE (
        SELECT count(*) FROM incident_scans s
        WHERE s.event_id = new.event_id AND s.kind = new.kind AND s.subject = new.subject
    ) >= min_scans
    ORDER BY event_id, kind, subject
    ON CONFLICT DO NOTHING"""
_ADD_SCANS: Final = """
    INSERT INTO incident_scans (event_id, kind, subject, scan_id)
    SELECT event_id, kind, subject, scan_id
    FROM jsonb_to_recordset({rows}) AS new(event_id uuid, kind text, subject uuid, scan_id uuid)
    ORDER BY event_id, kind, subject, scan_id
    ON CONFLICT DO NOTHING"""
# Forgeries and guesses remain assigned, whatever scans follow.
_REMOVE_SCANS: Final = """
    DELETE FROM incident_scans s
    USING jsonb_to_recordset({scans}) AS old(event_id uuid, scan_id uuid)
    WHERE s.event_id = old.event_id AND s.scan_id = old.scan_id AND s.kind NOT IN ('FORGED_TOKEN', 'CODE_GUESSING')"""

STATEMENTS: Final[Mapping[str, str]] = {
    "add_incidents": f"(jsonb) AS {_ADD_INCIDENTS.format(rows='$1')}",
    "add_incident_scans": f"(jsonb) AS {_ADD_SCANS.format(rows='$1')}",
    "remove_incident_scans": f"(jsonb) AS {_REMOVE_SCANS.format(scans='$1')}",
}
# The scans come first: an incident is recorded once it has enough of them.
_ADD: Final = "EXECUTE add_incident_scans(%s); EXECUTE add_incidents(%s)"


def add_round_trip(added: Iterable[IncidentScan], now: datetime) -> tuple[str, tuple[str, ...]]:
    """Return the round trip that assigns scans to incidents, within a transaction."""
    rows = _rows(added, now)
    return _ADD, (rows, rows)


def reassign_round_trip(
    scans: Iterable[Scan], assigned: Iterable[IncidentScan], now: datetime
) -> tuple[str, tuple[str, ...]]:
    """Return the round trip that replaces the assignments of `scans`, other than forgeries and guesses."""
    rows = _rows(assigned, now)
    return f"EXECUTE remove_incident_scans(%s); {_ADD}", (_keys(scans), rows, rows)


def reassign(connection: Connection, scans: Iterable[Scan], assigned: Iterable[IncidentScan], now: datetime) -> None:
    """Replace the assignments of `scans`, other than forgeries and guesses."""
    connection.execute(sa.text(_REMOVE_SCANS.format(scans="CAST(:scans AS jsonb)")), {"scans": _keys(scans)})
    add(connection, assigned, now)


def add(connection: Connection, added: Iterable[IncidentScan], now: datetime) -> None:
    """Assign scans to incidents."""
    rows = _rows(added, now)
    for statement in (_ADD_SCANS, _ADD_INCIDENTS):
        connection.execute(sa.text(statement.format(rows="CAST(:rows AS jsonb)")), {"rows": rows})


def read_incidents(connection: Connection, wanted: IncidentQuery) -> Sequence[Incident]:
    """Return up to one incident more than `wanted.size`, newest first; ids (UUIDv7) are ordered by creation time."""
    key = (incidents.c.event_id, incidents.c.kind, incidents.c.subject)
    foreign_key = (incident_scans.c.event_id, incident_scans.c.kind, incident_scans.c.subject)
    same = sa.and_(*(ours == theirs for ours, theirs in zip(key, foreign_key, strict=True)))
    query = sa.select(incidents).where(incidents.c.event_id == wanted.event_id, sa.exists().where(same))
    if wanted.before is not None:
        query = query.where(incidents.c.incident_id < wanted.before)
    rows = connection.execute(query.order_by(incidents.c.incident_id.desc()).limit(wanted.size + 1)).all()
    return [
        Incident(
            incident_id=row.incident_id,
            kind=IncidentKind(row.kind),
            event_id=row.event_id,
            ticket_id=row.ticket_id,
            create_time=row.create_time,
            scans=_scans_of(connection, row.event_id, row.kind, row.subject),
        )
        for row in rows
    ]


def _scans_of(connection: Connection, event_id: UUID, kind: str, subject: UUID) -> tuple[Scan, ...]:
    link = incident_scans.c
    query = (
        sa.select(sa.func.to_jsonb(scans.table_valued()))
        .where(scans.c.event_id == link.event_id, scans.c.scan_id == link.scan_id)
        .where(link.event_id == event_id, link.kind == kind, link.subject == subject)
        .order_by(scans.c.scan_time, scans.c.scan_id)
        .limit(MAX_SCANS)
    )
    return tuple(scan_of(row) for row in connection.execute(query).scalars())


def _rows(assigned: Iterable[IncidentScan], now: datetime) -> str:
    return json.dumps(
        [
            {
                "event_id": str(assignment.event_id),
                "kind": assignment.kind,
                "subject": str(assignment.subject),
                "incident_id": str(new_id()),
                "ticket_id": None if assignment.ticket_id is None else str(assignment.ticket_id),
                "create_time": now.isoformat(),
                "scan_id": str(assignment.scan_id),
                "min_scans": assignment.min_scans,
            }
            for assignment in assigned
        ]
    )


def _keys(scans: Iterable[Scan]) -> str:
    return json.dumps([{"event_id": str(scan.gate_event_id), "scan_id": str(scan.scan_id)} for scan in scans])
