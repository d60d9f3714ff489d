"""The statements on signing_keys."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from nacl.signing import VerifyKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from scan_service.store.tables import signing_keys
from ticketing.admission.tokens import PublicKey


def read_keys(connection: Connection) -> Mapping[int, PublicKey]:
    """Return all keys by id."""
    rows = connection.execute(sa.select(signing_keys)).all()
    return {row.key_id: PublicKey(VerifyKey(bytes(row.public_key)), row.activate_time, row.retire_time) for row in rows}


def save_keys(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or update rows of signing_keys; keys that the ticket service does not list any more remain unchanged."""
    if rows:
        new = insert(signing_keys).values(list(rows))
        updated = {name: new.excluded[name] for name in ("public_key", "activate_time", "retire_time")}
        connection.execute(new.on_conflict_do_update(index_elements=[signing_keys.c.key_id], set_=updated))
