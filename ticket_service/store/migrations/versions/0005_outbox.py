"""Create the outbox of notifications and their deliveries."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0005"
down_revision = "0004"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table("outbox", *_notification(), sa.PrimaryKeyConstraint("event_id", "position", name=op.f("outbox_pk")))
    op.create_table(
        "deliveries",
        *_notification(is_new=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("stream", sa.UUID(), nullable=False),
        sa.Column("due_time", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dead_time", TIME),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.CheckConstraint("(due_time IS NULL) = (dead_time IS NOT NULL)", name=op.f("deliveries_dead_time_ck")),
        sa.PrimaryKeyConstraint("event_id", "receiver", "stream", "notification_id", name=op.f("deliveries_pk")),
    )
    op.create_index(
        "deliveries_due_ix", "deliveries", ["receiver", "due_time"], postgresql_where=sa.text("due_time IS NOT NULL")
    )
    op.create_index(
        "deliveries_dead_ix", "deliveries", ["receiver", "dead_time"], postgresql_where=sa.text("dead_time IS NOT NULL")
    )


def _notification(*, is_new: bool = True) -> list[sa.Column[Any]]:
    identity = [sa.Identity()] if is_new else []
    return [
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.BigInteger(), *identity, nullable=False),
        sa.Column("notification_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.UUID()),
        sa.Column("ticket_id", sa.UUID()),
        sa.Column("user_id", sa.Text()),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
    ]
