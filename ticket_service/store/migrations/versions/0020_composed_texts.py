"""Texts in NFC: user ids, addresses and names that an older version stored as their callers spelled them.

Requests and access tokens are read in NFC since this version, so a row in another form would not be found. Nearly all
texts are ASCII, which PostgreSQL checks in less than a microsecond; only rows in another form are written.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

COLUMNS = {
    "events": ("organizer_id", "name", "description", "location"),
    "purchases": ("user_id",),
    "contacts": ("email",),
    "tickets": ("user_id",),
    "ticket_refunds": ("caller",),
    "reissues": ("caller", "user_id", "email"),
    "changes": ("caller",),
    "outbox": ("user_id",),
    "deliveries": ("user_id",),
}


def upgrade() -> None:
    """Normalise the texts in place."""
    for table, columns in COLUMNS.items():
        changes = ", ".join(f"{column} = normalize({column}, NFC)" for column in columns)
        condition = " OR ".join(f"{column} IS NOT NFC NORMALIZED" for column in columns)
        op.execute(f"UPDATE {table} SET {changes} WHERE {condition}")  # noqa: S608 - constant names
    for table in ("events", "purchases"):
        op.execute(f"""
            UPDATE {table} SET metadata = CAST(normalize(CAST(metadata AS text), NFC) AS jsonb)
            WHERE CAST(metadata AS text) IS NOT NFC NORMALIZED
        """)  # noqa: S608 - constant names
    # A caller may have used one request_id under both forms; the key in NFC is the later one.
    op.execute("""
        UPDATE idempotency_keys AS key SET caller = normalize(caller, NFC)
        WHERE caller IS NOT NFC NORMALIZED AND NOT EXISTS (
            SELECT FROM idempotency_keys AS composed
            WHERE composed.caller = normalize(key.caller, NFC) AND composed.request_id = key.request_id
        )
    """)
