"""Statements on idempotency keys, by which one request has one effect.

The erasure of a caller empties the caller and the fingerprint of a key. Such a key has no equal request: it refuses a
repetition by any caller, so that no effect is repeated.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from ticket_service.store.tables import idempotency_keys


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The idempotency key of a request, and a digest of the request's content."""

    caller: str
    request_id: UUID
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class FirstResult:
    """The result of the first request under a key."""

    fingerprint: bytes
    event_id: UUID
    result_id: UUID


def find_first(connection: Connection, key: RequestKey) -> FirstResult | None:
    """Return the first result under a key, or None."""
    its = (idempotency_keys.c.caller.in_([key.caller, ""]), idempotency_keys.c.request_id == key.request_id)
    found = sa.select(idempotency_keys).where(*its).order_by(idempotency_keys.c.caller.desc()).limit(1)
    row = connection.execute(found).one_or_none()
    return None if row is None else FirstResult(bytes(row.fingerprint), row.event_id, row.result_id)


def forget(connection: Connection, caller: str, request_id: UUID) -> None:
    """Delete the key of a request that had no effect."""
    its = (idempotency_keys.c.caller == caller, idempotency_keys.c.request_id == request_id)
    connection.execute(sa.delete(idempotency_keys).where(*its))


def claim(
    connection: Connection, key: RequestKey, event_id: UUID, result_id: UUID, now: datetime
) -> FirstResult | None:
    """Insert a key for a result about to be stored; if the key is taken, return the first result instead.

    The statement waits for another transaction that is inserting the same key.
    """
    row = {**asdict(key), "event_id": event_id, "result_id": result_id, "create_time": now}
    erased = sa.exists().where(idempotency_keys.c.caller == "", idempotency_keys.c.request_id == key.request_id)
    values = sa.select(*(sa.literal(row[name], idempotency_keys.c[name].type) for name in row)).where(~erased)
    taken = connection.execute(
        insert(idempotency_keys)
        .from_select(list(row), values)
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.request_id)
    ).first()
    return None if taken is not None else find_first(connection, key)
