"""Create the audit trail; 0021 builds the indexes for look-ups by payment, status and address."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "changes",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("change_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.UUID()),
        sa.Column("ticket_id", sa.UUID()),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("roles", ARRAY(sa.Text()), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column("create_time", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "change_id", name=op.f("changes_pk")),
    )
    op.create_index(op.f("changes_change_id_ix"), "changes", ["change_id"])
    op.create_index(op.f("changes_caller_change_id_ix"), "changes", ["caller", "change_id"])
    for name in ("purchase_id", "ticket_id"):
        where = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"changes_{name}_ix", "changes", [name, "change_id"], postgresql_where=where)
