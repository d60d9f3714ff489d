"""Add the erasures and their progress."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0017"
down_revision = "0016"

TIME = TIMESTAMP(timezone=True)
COUNTERS = ("purchases", "tickets", "contacts", "notifications", "requests", "scans", "kept_events")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("step", sa.Text()),
        sa.Column("scan_event_id", sa.UUID()),
        sa.Column("scan_id", sa.UUID()),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTERS),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("complete_time", TIME),
        sa.Column("due_time", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('USER', 'ADDRESS')", name=op.f("erasures_kind_ck")),
        sa.CheckConstraint(
            "num_nonnulls(subject, due_time) = CASE WHEN complete_time IS NULL THEN 2 ELSE 0 END",
            name=op.f("erasures_complete_time_ck"),
        ),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("erasures_pk")),
    )
    op.create_index(
        "erasures_subject_uq",
        "erasures",
        ["kind", "subject"],
        unique=True,
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
