"""Add refunds without a cancellation, and refunds paid by hand; 0021 builds the other indexes of owed refunds."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0015"
down_revision = "0014"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Add the columns with constant defaults, and the table with its indexes."""
    op.add_column("tickets", sa.Column("refunded", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("refund_orders", sa.Column("is_by_hand", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "ticket_refunds",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("ticket_refund_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text()),
        sa.Column("complete_time", TIME),
        sa.CheckConstraint("status IN ('REFUNDING', 'DONE')", name=op.f("ticket_refunds_status_ck")),
        sa.CheckConstraint(
            "(status = 'DONE') = (refund_id IS NOT NULL AND complete_time IS NOT NULL)",
            name=op.f("ticket_refunds_done_ck"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ticket_refunds_amount_ck")),
        sa.PrimaryKeyConstraint("event_id", "ticket_refund_id", name=op.f("ticket_refunds_pk")),
    )
    op.create_index(op.f("ticket_refunds_ticket_refund_id_ix"), "ticket_refunds", ["ticket_refund_id"])
    op.create_index(
        "ticket_refunds_owed_ix",
        "ticket_refunds",
        ["event_id", "create_time"],
        postgresql_where=sa.text("status = 'REFUNDING'"),
    )
