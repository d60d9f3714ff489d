"""Create the table of event cancellations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0002"
down_revision = "0001"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "callings_off",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("gates_closed_time", TIME),
        sa.Column("after_ticket_id", sa.UUID()),
        sa.Column("complete_time", TIME),
        sa.Column("due_time", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(complete_time IS NULL) = (due_time IS NOT NULL)", name=op.f("callings_off_complete_time_ck")
        ),
        sa.CheckConstraint(
            "gates_closed_time IS NOT NULL OR (after_ticket_id IS NULL AND complete_time IS NULL)",
            name=op.f("callings_off_order_ck"),
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("callings_off_pk")),
    )
    op.create_index(
        "callings_off_due_ix", "callings_off", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL")
    )
