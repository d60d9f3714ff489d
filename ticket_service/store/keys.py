"""Statements on the public keys."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.tokens import PublicKey
from ticket_service.store.tables import signing_keys


def lock(connection: Connection) -> None:
    """Lock the table until the transaction ends: no other process adds a key; readers do not wait."""
    connection.execute(sa.text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))


def all_keys(connection: Connection) -> list[PublicKey]:
    """Read all keys, by id."""
    return [_key(row) for row in connection.execute(sa.select(signing_keys).order_by(signing_keys.c.key_id))]


def add(connection: Connection, key: PublicKey) -> None:
    """Insert a key; the table is locked."""
    connection.execute(
        signing_keys.insert().values(
            key_id=key.key_id,
            public_key=key.public_key,
            activate_time=key.activate_time,
            retire_time=key.retire_time,
        )
    )


def retire(connection: Connection, key_ids: Collection[int], now: datetime) -> None:
    """Retire keys: gates deny their tokens from now on."""
    connection.execute(signing_keys.update().where(signing_keys.c.key_id.in_(key_ids)).values(retire_time=now))


def _key(row: Row[tuple[int, bytes, datetime, datetime | None]]) -> PublicKey:
    return PublicKey(row.key_id, bytes(row.public_key), row.activate_time, row.retire_time)
