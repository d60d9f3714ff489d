"""Organizers and names in NFC, as requests and access tokens are read since this version.

Scans keep the spelling of their scanners: the table is large, and erasures compare both forms.
"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Normalise the texts in place."""
    for table in ("events", "devices"):
        op.execute(f"""
            UPDATE {table} SET organizer_id = normalize(organizer_id, NFC), name = normalize(name, NFC)
            WHERE organizer_id IS NOT NFC NORMALIZED OR name IS NOT NFC NORMALIZED
        """)  # noqa: S608 - constant names
