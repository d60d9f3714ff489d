"""Statements on erasures and their progress; `store.erasing` erases the data."""

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.erasures import Erasure, Step, SubjectKind
from ticket_service.store.tables import erasures, events


def insert_or_find(connection: Connection, erasure: Erasure) -> tuple[Erasure, bool]:
    """Insert an erasure; return it and True, or the incomplete one of the same subject and False."""
    new = insert(erasures).values(asdict(erasure)).on_conflict_do_nothing().returning(erasures.c.erasure_id)
    if connection.execute(new).first() is not None:
        return erasure, True
    its = (erasures.c.kind == erasure.kind, erasures.c.subject == erasure.subject)
    row = connection.execute(sa.select(erasures).where(*its)).one_or_none()
    # Without a row, the other erasure has become complete since.
    return insert_or_find(connection, erasure) if row is None else (_erasure(row), False)


def lock(connection: Connection, erasure_id: UUID) -> Erasure:
    """Lock an erasure until the transaction ends."""
    query = sa.select(erasures).where(erasures.c.erasure_id == erasure_id).with_for_update()
    return _erasure(connection.execute(query).one())


def lock_due(connection: Connection, now: datetime) -> Erasure | None:
    """Lock the erasure that is due first, of those that no other process has locked."""
    query = (
        sa.select(erasures)
        .where(erasures.c.due_time <= now)
        .order_by(erasures.c.due_time)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _erasure(row)


def update(connection: Connection, erasure: Erasure) -> None:
    """Update a locked erasure."""
    its = erasures.c.erasure_id == erasure.erasure_id
    connection.execute(sa.update(erasures).where(its).values(asdict(erasure)))


def count_events_of(connection: Connection, organizer_id: str) -> int:
    """Count the events of an organizer."""
    query = sa.select(sa.func.count()).select_from(events).where(events.c.organizer_id == organizer_id)
    count: int = connection.execute(query).scalar_one()
    return count


def _erasure(row: Row[Any]) -> Erasure:
    step = None if row.step is None else Step(row.step)
    return Erasure(**row._asdict() | {"kind": SubjectKind(row.kind), "step": step})
