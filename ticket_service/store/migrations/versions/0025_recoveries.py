"""Record that the database was restored, so that nothing is sold or refunded on it before it is recovered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0025"
down_revision = "0024"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Add the tables; processes of the previous version do not know them, and go on selling during a recovery."""
    op.create_table(
        "recoveries",
        sa.Column("recovery_id", sa.UUID(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since", TIME),
        sa.Column("begin_time", TIME, nullable=False),
        sa.Column("end_time", TIME),
        sa.PrimaryKeyConstraint("recovery_id", name=op.f("recoveries_pk")),
    )
    # One recovery at a time.
    op.create_index(
        "recoveries_open_uq", "recoveries", [sa.text("(1)")], unique=True, postgresql_where=sa.text("end_time IS NULL")
    )
    op.create_table(
        "recovery_findings",
        sa.Column("recovery_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("event_id", sa.UUID()),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("recovery_id", "kind", "subject", name=op.f("recovery_findings_pk")),
    )
