"""Texts in NFC: user ids, addresses and names that an older version stored as their callers spelled them.

Requests and access tokens are read in NFC since this version, so a row in another form would not be found. Nearly all
texts are ASCII, which PostgreSQL checks in less than a microsecond; only rows in another form are written.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

COLUMNS = {
    "purchases": ("user_id",),
    "contacts": ("email",),
    "tickets": ("user_id",),
    "ticket_refunds": ("caller",),
    "reissues": ("caller", "user_id", "email"),
    "changes": ("caller",),
    "outbox": ("user_id",),
    "deliveries": ("user_id",),
    # The rows for which purchases wait come last: the updates of large tables read every row.
    "events": ("organizer_id", "name", "description", "location"),
}


def upgrade() -> None:
    """Normalise the texts in place."""
    # A caller may have used one request_id under both forms; the key in NFC is the later one.
    op.execute("""
        UPDATE idempotency_keys AS key SET caller = normalize(caller, NFC)
        WHERE caller IS NOT NFC NORMALIZED AND NOT EXISTS (
            SELECT FROM idempotency_keys AS composed
            WHERE composed.caller = normalize(key.caller, NFC) AND composed.request_id = key.request_id
        )
    """)
    _normalise_metadata("purchases")
    for table, columns in COLUMNS.items():
        changes = ", ".join(f"{column} = normalize({column}, NFC)" for column in columns)
        condition = " OR ".join(f"{column} IS NOT NFC NORMALIZED" for column in columns)
        op.execute(f"UPDATE {table} SET {changes} WHERE {condition}")  # noqa: S608 - constant names
    _normalise_metadata("events")


def _normalise_metadata(table: str) -> None:
    op.execute(f"""
        UPDATE {table} SET metadata = CAST(normalize(CAST(metadata AS text), NFC) AS jsonb)
        WHERE CAST(metadata AS text) IS NOT NFC NORMALIZED
    """)  # noqa: S608 - constant names
