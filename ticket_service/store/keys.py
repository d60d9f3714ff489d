"""Statements on the public keys."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.tokens import PublicKey
from ticket_service.store.tables import signing_keys


def lock(connection: Connection) -> None:
    """Lock the table until the transaction ends: no other process adds a key, and readers do not wait."""
    connection.execute(sa.text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))


def all_keys(connection: Connection) -> list[PublicKey]:
    """Read all keys, by id."""
    rows = connection.execute(sa.select(signing_keys).order_by(signing_keys.c.key_id))
    return [PublicKey(row.key_id, bytes(row.public_key), row.activate_time, row.retire_time) for row in rows]


def add(connection: Connection, key: PublicKey) -> None:
    """Insert a key into the locked table."""
    connection.execute(sa.insert(signing_keys).values(asdict(key)))


def retire(connection: Connection, key_ids: Collection[int], now: datetime) -> None:
    """Retire keys: gates deny their tokens from now on."""
    connection.execute(sa.update(signing_keys).where(signing_keys.c.key_id.in_(key_ids)).values(retire_time=now))
