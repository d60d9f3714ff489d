"""Statements on idempotency keys: one request, one effect."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from ticket_service.store.tables import idempotency_keys


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request this one: who sent it under which id, and a digest of what it asks for."""

    caller: str
    request_id: UUID
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class FirstResult:
    """What a request led to when it came first."""

    fingerprint: bytes
    event_id: UUID
    result_id: UUID


def claim(
    connection: Connection, key: RequestKey, event_id: UUID, result_id: UUID, now: datetime
) -> FirstResult | None:
    """Take the key for a result about to be made; return what it led to before, if it was taken already.

    Waits for another transaction that is just taking it.
    """
    taken = connection.execute(
        insert(idempotency_keys)
        .values(
            caller=key.caller,
            request_id=key.request_id,
            fingerprint=key.fingerprint,
            event_id=event_id,
            result_id=result_id,
            create_time=now,
        )
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.request_id)
    ).first()
    if taken is not None:
        return None
    row = connection.execute(
        sa.select(idempotency_keys).where(
            idempotency_keys.c.caller == key.caller, idempotency_keys.c.request_id == key.request_id
        )
    ).one()
    return FirstResult(bytes(row.fingerprint), row.event_id, row.result_id)
