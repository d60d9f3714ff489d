"""The statements that count the attendance of an event from its tickets and scans, in one snapshot.

There are no counter rows: if every scan of an event updated one row, its gates would wait for each other.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.attendance import AttendanceCounts, LocationCounts, TypeCounts
from scan_service.store.tables import scans, tickets
from ticketing.admission.scans import DenialReason
from ticketing.admission.tickets import TicketType

MINUTE: Final = timedelta(minutes=1)


def read_counts(connection: Connection, event_id: UUID, now: datetime) -> AttendanceCounts:
    """Count the tickets and scans of an event; the transaction must be REPEATABLE READ."""
    return AttendanceCounts(
        types=_types(connection, event_id),
        denials=_denials(connection, event_id),
        locations=_locations(connection, event_id, now),
    )


def _types(connection: Connection, event_id: UUID) -> list[TypeCounts]:
    kind, checked_in = tickets.c.ticket_type, tickets.c.check_in_time.is_not(None)
    query = sa.select(
        kind,
        sa.func.count().filter(sa.or_(checked_in, tickets.c.status == "ACTIVE")),
        sa.func.count().filter(checked_in),
        sa.func.count().filter(tickets.c.inside),
    ).where(tickets.c.event_id == event_id)
    rows = connection.execute(query.group_by(kind).order_by(kind))
    return [TypeCounts(None if name is None else TicketType(name), *counts) for name, *counts in rows]


def _denials(connection: Connection, event_id: UUID) -> dict[DenialReason, int]:
    reason = scans.c.denial_reason
    query = sa.select(reason, sa.func.count()).where(scans.c.event_id == event_id, reason.is_not(None))
    rows = connection.execute(query.group_by(reason).order_by(reason))
    return {DenialReason(name): count for name, count in rows}


def _locations(connection: Connection, event_id: UUID, now: datetime) -> list[LocationCounts]:
    effective = sa.and_(scans.c.verdict == "ADMITTED", scans.c.annul_time.is_(None))
    query = (
        sa.select(
            scans.c.location,
            sa.func.count().filter(sa.and_(effective, scans.c.scan_type == "CHECK_IN")),
            sa.func.count().filter(sa.and_(effective, scans.c.scan_type == "CHECK_OUT")),
            sa.func.count().filter(sa.and_(effective, scans.c.scan_type == "ACCESS")),
            sa.func.count().filter(scans.c.verdict == "DENIED"),
            sa.func.count().filter(scans.c.scan_time > now - MINUTE),
        )
        .where(scans.c.event_id == event_id)
        .group_by(scans.c.location)
        .order_by(scans.c.location)
    )
    return [LocationCounts(*row) for row in connection.execute(query)]
