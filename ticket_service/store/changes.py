"""Statements on the audit trail. A record is written in the transaction of its change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.changes import Change, ChangeKind, RecordedChange
from ticket_service.domain.queries import ChangeQuery
from ticket_service.store.access import event_administered_by
from ticket_service.store.tables import changes, events
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.ids import new_id
from ticketing.chassis.logs import REQUEST_ID


@dataclass(frozen=True, slots=True)
class CallersChange:
    """A change, its caller, and the id of the call that makes it."""

    caller: Caller
    request_id: str
    change: Change


def record(connection: Connection, caller: Caller, change: Change, now: datetime) -> None:
    """Record a change of `caller`, with the id of the call that this task serves."""
    record_all(connection, [CallersChange(caller, REQUEST_ID.get(), change)], now)


def record_all(connection: Connection, made: Sequence[CallersChange], now: datetime) -> None:
    """Record changes of several callers."""
    rows = [
        {
            "event_id": one.change.event_id,
            "change_id": new_id(),
            "kind": one.change.kind,
            "purchase_id": one.change.purchase_id,
            "ticket_id": one.change.ticket_id,
            "caller": one.caller.subject,
            "roles": sorted(one.caller.roles),
            "request_id": one.request_id,
            "details": one.change.details,
            "create_time": now,
        }
        for one in made
    ]
    if rows:
        connection.execute(sa.insert(changes), rows)


def recent_changes(connection: Connection, kind: ChangeKind, since: datetime, **key: UUID | str) -> list[datetime]:
    """Return the times of the changes of one kind after `since`, by the columns in `key`, oldest first."""
    query = sa.select(changes.c.create_time).filter_by(kind=kind, **key).where(changes.c.create_time > since)
    return list(connection.execute(query.order_by(changes.c.create_time)).scalars())


def list_changes(
    connection: Connection, caller: Caller, query: ChangeQuery, before: UUID | None, limit: int
) -> list[RecordedChange]:
    """Read changes that a caller may see, newest first."""
    selected = sa.select(changes).order_by(changes.c.change_id.desc()).limit(limit)
    if not caller.is_any(Role.SERVICE, Role.OPERATOR):
        selected = selected.join(events, events.c.event_id == changes.c.event_id)
        selected = selected.where(event_administered_by(caller))
    filters = {
        changes.c.event_id: query.event_id,
        changes.c.purchase_id: query.purchase_id,
        changes.c.ticket_id: query.ticket_id,
        changes.c.caller: query.caller or None,
    }
    selected = selected.where(*(column == value for column, value in filters.items() if value is not None))
    if before is not None:
        selected = selected.where(changes.c.change_id < before)
    return [
        RecordedChange(
            row.change_id,
            Change(ChangeKind(row.kind), row.event_id, row.purchase_id, row.ticket_id, row.details),
            row.caller,
            tuple(row.roles),
            row.request_id,
            row.create_time,
        )
        for row in connection.execute(selected)
    ]
