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
# The position of the denied scans among the counts of `_scans`.
DENIED: Final = 3


def read_counts(connection: Connection, event_id: UUID, now: datetime) -> AttendanceCounts:
    """Count the tickets and scans of an event; the transaction must be REPEATABLE READ."""
    denials, locations = _scans(connection, event_id, now)
    return AttendanceCounts(types=_types(connection, event_id), denials=denials, locations=locations)


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


def _scans(
    connection: Connection, event_id: UUID, now: datetime
) -> tuple[dict[DenialReason, int], list[LocationCounts]]:
    """Count the scans by denial reason and by location in one pass, which reads every scan of the event."""
    effective = sa.and_(scans.c.denial_reason.is_(None), scans.c.annul_time.is_(None))
    query = (
        sa.select(
            scans.c.location,
            scans.c.denial_reason,
            sa.func.count().filter(effective, scans.c.scan_type == "CHECK_IN"),
            sa.func.count().filter(effective, scans.c.scan_type == "CHECK_OUT"),
            sa.func.count().filter(effective, scans.c.scan_type == "ACCESS"),
            sa.func.count().filter(scans.c.denial_reason.is_not(None)),
            sa.func.count().filter(scans.c.scan_time > now - MINUTE),
        )
        .where(scans.c.event_id == event_id)
        .group_by(scans.c.location, scans.c.denial_reason)
        .order_by(scans.c.location, scans.c.denial_reason)
    )
    denials, locations = dict[str, int](), dict[str, list[int]]()
    for location, reason, *counts in connection.execute(query):
        locations[location] = [
            sum(pair) for pair in zip(locations.get(location, [0] * len(counts)), counts, strict=True)
        ]
        if reason is not None:
            denials[reason] = denials.get(reason, 0) + counts[DENIED]
    return (
        {DenialReason(reason): denials[reason] for reason in sorted(denials)},
        [LocationCounts(location, *counts) for location, counts in locations.items()],
    )
