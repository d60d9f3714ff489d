"""Create the audit trail of the gates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "changes",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("change_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("organizer_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.UUID()),
        sa.Column("ticket_id", sa.UUID()),
        sa.Column("scan_id", sa.UUID()),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("roles", ARRAY(sa.Text()), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column("create_time", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "change_id", name=op.f("changes_pk")),
    )
    op.create_index(op.f("changes_change_id_ix"), "changes", ["change_id"])
    for name in ("organizer_id", "caller"):
        op.create_index(op.f(f"changes_{name}_change_id_ix"), "changes", [name, "change_id"])
    for name in ("device_id", "ticket_id"):
        where = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"changes_{name}_ix", "changes", [name, "change_id"], postgresql_where=where)
