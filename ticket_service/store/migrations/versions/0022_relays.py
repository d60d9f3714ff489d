"""Let relays pause receivers and send a notification again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0022"
down_revision = "0021"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Add the tables; relays of the previous version go on beside them."""
    op.create_table(
        "notifications",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("notification_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.UUID()),
        sa.Column("ticket_id", sa.UUID()),
        sa.Column("user_id", sa.Text()),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("receivers", ARRAY(sa.Text()), nullable=False),
        sa.Column("receivers_by_purchase", ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("notifications_pk")),
    )
    op.create_index("notifications_position_ix", "notifications", ["position"])
    op.create_table(
        "receiver_states",
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("disabled_time", TIME),
        sa.Column("paused_until", TIME),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("receiver", name=op.f("receiver_states_pk")),
    )
    # Every row is deleted soon: with the default of a fifth of the table, dead rows of a past backlog would stay in
    # front of the index entries that each claim reads first.
    for table in ("outbox", "deliveries"):
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)"
        )
