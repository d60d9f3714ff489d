"""The keys that are retired for good, whatever the ticket service publishes after a restore."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table with the retirements so far; a process of the version before adds none, but the next one does."""
    op.create_table(
        "retired_keys",
        sa.Column("public_key", BYTEA, nullable=False),
        sa.Column("retire_time", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(public_key) = 32", op.f("retired_keys_public_key_ck")),
        sa.PrimaryKeyConstraint("public_key", name=op.f("retired_keys_pk")),
    )
    op.execute(
        "INSERT INTO retired_keys SELECT public_key, min(retire_time) FROM signing_keys"
        " WHERE retire_time IS NOT NULL GROUP BY public_key"
    )
