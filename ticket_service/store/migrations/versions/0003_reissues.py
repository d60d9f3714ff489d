"""Create the table of reissues and transfers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "reissues",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("reissue_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("issue", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("check_in_time", TIME),
        sa.Column("complete_time", TIME),
        sa.Column("due_time", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint("status IN ('PENDING', 'DONE', 'REJECTED')", name=op.f("reissues_status_ck")),
        sa.CheckConstraint("(status = 'PENDING') = (complete_time IS NULL)", name=op.f("reissues_complete_time_ck")),
        sa.CheckConstraint("(status = 'PENDING') = (due_time IS NOT NULL)", name=op.f("reissues_due_time_ck")),
        sa.PrimaryKeyConstraint("event_id", "reissue_id", name=op.f("reissues_pk")),
    )
    op.create_index(
        "reissues_ticket_uq",
        "reissues",
        ["event_id", "ticket_id"],
        unique=True,
        postgresql_where=sa.text("status = 'PENDING'"),
    )
    op.create_index("reissues_due_ix", "reissues", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL"))
