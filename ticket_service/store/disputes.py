"""Statements on disputes."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.disputes import Dispute, DisputeStatus
from ticket_service.domain.queries import DisputeQuery
from ticket_service.store.access import event_administered_by
from ticket_service.store.tables import disputes, events
from ticketing.chassis.callers import Caller


def store(connection: Connection, dispute: Dispute) -> None:
    """Insert or update a dispute of a locked purchase."""
    values = asdict(dispute) | {"blocked_ticket_ids": list(dispute.blocked_ticket_ids)}
    statement = postgresql.insert(disputes).values(values)
    keys = ["event_id", "dispute_id"]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def of_purchases(connection: Connection, keys: Collection[tuple[UUID, UUID]]) -> list[Dispute]:
    """Return the disputes of purchases, which are named by their events and their ids, oldest first."""
    its_key = sa.tuple_(disputes.c.event_id, disputes.c.purchase_id)
    query = sa.select(disputes).where(its_key.in_(keys)).order_by(disputes.c.dispute_id)
    return [dispute_of(row) for row in connection.execute(query)]


def list_disputes(
    connection: Connection, caller: Caller, query: DisputeQuery, before: UUID | None, limit: int
) -> list[Dispute]:
    """Read disputes of purchases of events that a caller administers, newest first."""
    selected = (
        sa.select(disputes)
        .join(events, events.c.event_id == disputes.c.event_id)
        .where(event_administered_by(caller))
        .order_by(disputes.c.dispute_id.desc())
        .limit(limit)
    )
    if query.status is not None:
        selected = selected.where(disputes.c.status == query.status)
    if query.event_id is not None:
        selected = selected.where(disputes.c.event_id == query.event_id)
    if before is not None:
        selected = selected.where(disputes.c.dispute_id < before)
    return [dispute_of(row) for row in connection.execute(selected)]


def dispute_of(row: Row[Any]) -> Dispute:
    """Convert a row of `disputes`."""
    return Dispute(
        **row._asdict() | {"status": DisputeStatus(row.status), "blocked_ticket_ids": tuple(row.blocked_ticket_ids)}
    )
