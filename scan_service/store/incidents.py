"""The statements of incidents, for batches in the event loop and for work in threads."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.incidents import Incident, IncidentKind, IncidentQuery, Link
from scan_service.store.rows import scan_of
from scan_service.store.tables import incident_scans, incidents, scans
from ticketing.admission.scans import Scan
from ticketing.chassis.ids import new_id

# Of one incident; the rest is in the record of scans.
MAX_SCANS: Final = 50

# In one order everywhere, as all that several transactions write at once.
_NOTE_INCIDENTS: Final = """
    INSERT INTO incidents (event_id, kind, subject, incident_id, ticket_id, create_time)
    SELECT DISTINCT ON (event_id, kind, subject) event_id, kind, subject, incident_id, ticket_id, create_time
    FROM jsonb_to_recordset({links}) AS new(
        event_id uuid, kind text, subject uuid, incident_id uuid, ticket_id uuid, create_time timestamptz)
    ORDER BY event_id, kind, subject
    ON CONFLICT DO NOTHING"""
_NOTE_SCANS: Final = """
    INSERT INTO incident_scans (event_id, kind, subject, scan_id)
    SELECT event_id, kind, subject, scan_id
    FROM jsonb_to_recordset({links}) AS new(event_id uuid, kind text, subject uuid, scan_id uuid)
    ORDER BY event_id, kind, subject, scan_id
    ON CONFLICT DO NOTHING"""
# A forgery and a guess stay what they are, whatever else comes in.
_FORGET_SCANS: Final = """
    DELETE FROM incident_scans s
    USING jsonb_to_recordset({scans}) AS old(event_id uuid, scan_id uuid)
    WHERE s.event_id = old.event_id AND s.scan_id = old.scan_id AND s.kind NOT IN ('FORGED_TOKEN', 'CODE_GUESSING')"""

STATEMENTS: Final[Mapping[str, str]] = {
    "note_incidents": f"(jsonb) AS {_NOTE_INCIDENTS.format(links='$1')}",
    "note_incident_scans": f"(jsonb) AS {_NOTE_SCANS.format(links='$1')}",
    "forget_incident_scans": f"(jsonb) AS {_FORGET_SCANS.format(scans='$1')}",
}
_NOTE: Final = "EXECUTE note_incidents(%s); EXECUTE note_incident_scans(%s)"


def note(links: Iterable[Link], now: datetime) -> tuple[str, tuple[str, ...]]:
    """Return the trip that adds scans to incidents, within a transaction."""
    rows = _rows(links, now)
    return _NOTE, (rows, rows)


def renew(touched: Iterable[Scan], links: Iterable[Link], now: datetime) -> tuple[str, tuple[str, ...]]:
    """Return the trip after which the scans `touched` belong to `links` and to nothing else but forgeries."""
    rows = _rows(links, now)
    return f"EXECUTE forget_incident_scans(%s); {_NOTE}", (_keys(touched), rows, rows)


def renew_here(connection: Connection, touched: Iterable[Scan], links: Iterable[Link], now: datetime) -> None:
    """Do what `renew` does, in a thread's transaction."""
    connection.execute(sa.text(_FORGET_SCANS.format(scans="CAST(:scans AS jsonb)")), {"scans": _keys(touched)})
    note_here(connection, links, now)


def note_here(connection: Connection, links: Iterable[Link], now: datetime) -> None:
    """Do what `note` does, in a thread's transaction."""
    rows = _rows(links, now)
    for statement in (_NOTE_INCIDENTS, _NOTE_SCANS):
        connection.execute(sa.text(statement.format(links="CAST(:links AS jsonb)")), {"links": rows})


def read_incidents(connection: Connection, wanted: IncidentQuery) -> Sequence[Incident]:
    """Return up to one incident more than asked for, newest first: their ids are in the order of their making."""
    key = (incidents.c.event_id, incidents.c.kind, incidents.c.subject)
    link = (incident_scans.c.event_id, incident_scans.c.kind, incident_scans.c.subject)
    same = sa.and_(*(ours == theirs for ours, theirs in zip(key, link, strict=True)))
    query = sa.select(incidents).where(incidents.c.event_id == wanted.event_id, sa.exists().where(same))
    if wanted.before is not None:
        query = query.where(incidents.c.incident_id < wanted.before)
    found = connection.execute(query.order_by(incidents.c.incident_id.desc()).limit(wanted.size + 1)).all()
    return [
        Incident(
            incident_id=row.incident_id,
            kind=IncidentKind(row.kind),
            event_id=row.event_id,
            ticket_id=row.ticket_id,
            create_time=row.create_time,
            scans=_scans_of(connection, row.event_id, row.kind, row.subject),
        )
        for row in found
    ]


def _scans_of(connection: Connection, event_id: UUID, kind: str, subject: UUID) -> tuple[Scan, ...]:
    query = (
        sa.select(sa.func.to_jsonb(scans.table_valued()))
        .join_from(
            incident_scans,
            scans,
            sa.and_(scans.c.event_id == incident_scans.c.event_id, scans.c.scan_id == incident_scans.c.scan_id),
        )
        .where(
            incident_scans.c.event_id == event_id, incident_scans.c.kind == kind, incident_scans.c.subject == subject
        )
        .order_by(scans.c.scan_time, scans.c.scan_id)
        .limit(MAX_SCANS)
    )
    return tuple(scan_of(row) for row in connection.execute(query).scalars())


def _rows(links: Iterable[Link], now: datetime) -> str:
    return json.dumps(
        [
            {
                "event_id": str(link.event_id),
                "kind": link.kind,
                "subject": str(link.subject),
                "incident_id": str(new_id()),
                "ticket_id": None if link.ticket_id is None else str(link.ticket_id),
                "create_time": now.isoformat(),
                "scan_id": str(link.scan_id),
            }
            for link in links
        ]
    )


def _keys(touched: Iterable[Scan]) -> str:
    return json.dumps([{"event_id": str(scan.gate_event_id), "scan_id": str(scan.scan_id)} for scan in touched])
