"""The last transaction that changed each ticket, so that gate devices receive every change."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "tickets",
        sa.Column(
            "changed_by",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            nullable=False,
        ),
    )
    op.create_index(op.f("tickets_event_id_changed_by_ix"), "tickets", ["event_id", "changed_by"], unique=False)
    op.add_column(
        "feed",
        sa.Column("changes_epoch", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
    )
