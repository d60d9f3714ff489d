"""The statements that read the record of scans, and what a scan would be decided on."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import TICKET_COLUMNS, event_of, scan_of, ticket_of
from scan_service.store.tables import events, scans, tickets
from ticketing.admission.scans import Scan, ScanQuery
from ticketing.admission.tickets import Event, Ticket
from ticketing.admission.tokens import Token


def may_read(connection: Connection, event_id: UUID, organizer_id: str | None) -> bool:
    """Tell whether there is such an event, of that organizer unless that is None."""
    query = sa.select(events.c.event_id).where(events.c.event_id == event_id)
    if organizer_id is not None:
        query = query.where(events.c.organizer_id == organizer_id)
    return connection.execute(query).first() is not None


def read_scans(connection: Connection, wanted: ScanQuery) -> Sequence[Scan]:
    """Return up to one more than asked for, newest first."""
    query = sa.select(sa.func.to_jsonb(scans.table_valued())).where(scans.c.event_id == wanted.event_id)
    if wanted.ticket_id is not None:
        query = query.where(scans.c.ticket_id == wanted.ticket_id)
    if wanted.device_id:
        query = query.where(scans.c.device_id == wanted.device_id)
    if wanted.verdict is not None:
        query = query.where(scans.c.verdict == wanted.verdict)
    if wanted.code:
        query = query.where(scans.c.code == wanted.code)
    position = (scans.c.record_time, scans.c.scan_id)
    if wanted.after is not None:
        query = query.where(sa.tuple_(*position) < sa.tuple_(*(sa.literal(part) for part in wanted.after)))
    query = query.order_by(*(column.desc() for column in position)).limit(wanted.size + 1)
    return [scan_of(row) for row in connection.execute(query).scalars()]


def read_event(connection: Connection, event_id: UUID) -> Event | None:
    """Return an event as gates know it."""
    row = connection.execute(
        sa.select(sa.func.to_jsonb(events.table_valued())).where(events.c.event_id == event_id)
    ).scalar()
    return None if row is None else event_of(row)


def read_ticket(connection: Connection, credential: Token | bytes) -> Ticket | None:
    """Return a ticket by its token or by the digest of its code."""
    query = sa.select(*(tickets.c[name] for name in TICKET_COLUMNS))
    if isinstance(credential, Token):
        query = query.where(tickets.c.event_id == credential.event_id, tickets.c.ticket_id == credential.ticket_id)
    else:
        query = query.where(tickets.c.code_digest == credential)
    row = connection.execute(query).first()
    return None if row is None else ticket_of(tuple(row))
