"""The statements on the public keys and on those that are retired for good.

A restored ticket service may publish a retired key as valid, and may give its id to another key. So retirements are
stored apart, by the public key itself, and nothing that the feed says removes or delays one.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from nacl.signing import VerifyKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from scan_service.store.tables import retired_keys, signing_keys
from ticketing.admission.tokens import PublicKey


def read_keys(connection: Connection) -> Mapping[int, PublicKey]:
    """Return all keys by id."""
    # LEAST ignores NULL.
    retire_time = sa.func.least(signing_keys.c.retire_time, retired_keys.c.retire_time).label("retire_time")
    query = sa.select(
        signing_keys.c.key_id, signing_keys.c.public_key, signing_keys.c.activate_time, retire_time
    ).outerjoin(retired_keys, signing_keys.c.public_key == retired_keys.c.public_key)
    rows = connection.execute(query).all()
    return {row.key_id: PublicKey(VerifyKey(bytes(row.public_key)), row.activate_time, row.retire_time) for row in rows}


def save_keys(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or update rows of signing_keys; keys that the ticket service does not list any more remain unchanged."""
    if rows:
        new = insert(signing_keys).values(list(rows))
        updated = {name: new.excluded[name] for name in ("public_key", "activate_time", "retire_time")}
        connection.execute(new.on_conflict_do_update(index_elements=[signing_keys.c.key_id], set_=updated))
        _retire(connection, {row["public_key"]: row["retire_time"] for row in rows if row["retire_time"] is not None})


def retire_keys(connection: Connection, key_ids: Collection[int], now: datetime) -> frozenset[int]:
    """Retire keys for good, from `now` unless they were retired before; return the ids of those that exist."""
    query = sa.select(signing_keys.c.key_id, signing_keys.c.public_key).where(signing_keys.c.key_id.in_(list(key_ids)))
    found = connection.execute(query).all()
    _retire(connection, {bytes(row.public_key): now for row in found})
    return frozenset(row.key_id for row in found)


def _retire(connection: Connection, times: Mapping[bytes, datetime]) -> None:
    """Store retirements in the order of the keys; the earliest time of each key prevails."""
    if times:
        rows = [{"public_key": key, "retire_time": time} for key, time in sorted(times.items())]
        new = insert(retired_keys).values(rows)
        earliest = sa.func.least(retired_keys.c.retire_time, new.excluded.retire_time)
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[retired_keys.c.public_key],
                set_={"retire_time": earliest},
                where=new.excluded.retire_time < retired_keys.c.retire_time,
            )
        )
