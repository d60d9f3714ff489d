"""Statements on the audit trail. A record is written in the transaction of its change."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from scan_service.domain.audit_trail import Change, ChangeKind, ChangeQuery, RecordedChange
from scan_service.store.tables import changes
from ticketing.chassis.callers import Caller
from ticketing.chassis.ids import new_id
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.parsing import NIL

_ERASE: Final = sa.text("""
    UPDATE changes SET caller = '', request_id = ''
    WHERE (event_id, change_id) IN (
        SELECT event_id, change_id FROM changes WHERE caller = :user_id
        ORDER BY event_id, change_id LIMIT :limit FOR UPDATE
    )
""")


def record(connection: Connection, caller: Caller, changed: Sequence[Change], now: datetime) -> None:
    """Record changes of `caller`, with the id of the call that this task serves."""
    rows = [
        {
            "event_id": change.event_id or NIL,
            "change_id": new_id(),
            "kind": change.kind,
            "organizer_id": change.organizer_id,
            "device_id": change.device_id,
            "ticket_id": change.ticket_id,
            "scan_id": change.scan_id,
            "caller": caller.subject,
            "roles": sorted(caller.roles),
            "request_id": REQUEST_ID.get(),
            "details": change.details,
            "create_time": now,
        }
        for change in changed
    ]
    if rows:
        connection.execute(sa.insert(changes), rows)


def read_changes_of_callers(connection: Connection, query: ChangeQuery) -> Sequence[RecordedChange]:
    """Return up to one change more than `query.size`, newest first."""
    filters = {
        changes.c.organizer_id: query.organizer_id,
        changes.c.event_id: query.event_id,
        changes.c.device_id: query.device_id,
        changes.c.ticket_id: query.ticket_id,
        changes.c.caller: query.caller or None,
    }
    selected = sa.select(changes).where(*(column == value for column, value in filters.items() if value is not None))
    if query.before is not None:
        selected = selected.where(changes.c.change_id < query.before)
    return [
        _recorded(row)
        for row in connection.execute(selected.order_by(changes.c.change_id.desc()).limit(query.size + 1))
    ]


def erase_caller(connection: Connection, user_id: str, limit: int) -> int:
    """Erase a caller from up to `limit` records; return their number."""
    return connection.execute(_ERASE, {"user_id": user_id, "limit": limit}).rowcount


def _recorded(row: Row[Any]) -> RecordedChange:
    change = Change(
        ChangeKind(row.kind),
        row.organizer_id,
        event_id=None if row.event_id == NIL else row.event_id,
        device_id=row.device_id,
        ticket_id=row.ticket_id,
        scan_id=row.scan_id,
        details=row.details,
    )
    return RecordedChange(row.change_id, change, row.caller, tuple(row.roles), row.request_id, row.create_time)
