"""Statements that read and change reissues."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.reissues import Reissue, ReissueStatus
from ticket_service.store.tables import reissues


def find_reissue(connection: Connection, event_id: UUID, reissue_id: UUID) -> Reissue:
    """Read a reissue that exists."""
    query = sa.select(reissues).where(reissues.c.event_id == event_id, reissues.c.reissue_id == reissue_id)
    return _reissue(connection.execute(query).one())


def lock_reissue(connection: Connection, event_id: UUID, reissue_id: UUID) -> Reissue:
    """Lock a reissue until the transaction ends; return it."""
    query = sa.select(reissues).where(reissues.c.event_id == event_id, reissues.c.reissue_id == reissue_id)
    return _reissue(connection.execute(query.with_for_update(key_share=True)).one())


def find_pending_reissue(connection: Connection, event_id: UUID, ticket_id: UUID) -> Reissue | None:
    """Read the PENDING reissue of a ticket; while the ticket is locked, none can be added."""
    query = sa.select(reissues).where(
        reissues.c.event_id == event_id, reissues.c.ticket_id == ticket_id, reissues.c.status == ReissueStatus.PENDING
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _reissue(row)


def lock_due(connection: Connection, now: datetime, limit: int) -> Sequence[Reissue]:
    """Lock due reissues that no other process has locked."""
    query = (
        sa.select(reissues)
        .where(reissues.c.due_time <= now)
        .order_by(reissues.c.due_time)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return [_reissue(row) for row in connection.execute(query)]


def insert_reissue(connection: Connection, reissue: Reissue) -> None:
    """Insert a reissue of a locked ticket."""
    connection.execute(sa.insert(reissues), [asdict(reissue)])


def update_reissue(connection: Connection, reissue: Reissue) -> None:
    """Update a locked reissue."""
    its = (reissues.c.event_id == reissue.event_id, reissues.c.reissue_id == reissue.reissue_id)
    connection.execute(sa.update(reissues).where(*its).values(asdict(reissue)))


def _reissue(row: Row[Any]) -> Reissue:
    return Reissue(**row._asdict() | {"status": ReissueStatus(row.status)})
