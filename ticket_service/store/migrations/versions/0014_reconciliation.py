"""Add outside refunds, disputes, payments without a purchase, and the progress of the reconciler.

The new kinds of ledger entries widen a check; 0021 validates the existing rows, which takes 0.1 s a million.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

revision = "0014"
down_revision = "0013"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables, and widen the check of the ledger."""
    op.add_column("refund_orders", sa.Column("credited", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_check_constraint(
        op.f("refund_orders_credited_ck"), "refund_orders", "credited BETWEEN 0 AND amount", postgresql_not_valid=True
    )
    op.drop_constraint(op.f("ledger_kind_ck"), "ledger")
    op.create_check_constraint(
        op.f("ledger_kind_ck"),
        "ledger",
        "kind IN ('CHARGE_TRIED', 'CHARGED', 'DECLINED', 'WITHDRAWN', 'REFUND_TRIED', 'REFUNDED', 'REFUND_REFUSED',"
        " 'REFUND_RETURNED', 'DISPUTED', 'DISPUTE_WON', 'DISPUTE_LOST')",
        postgresql_not_valid=True,
    )
    _create_outside_refunds()
    _create_disputes()
    _create_unmatched_payments()
    _create_reconciler()


def _create_outside_refunds() -> None:
    op.create_table(
        "outside_refunds",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("credited", sa.BigInteger(), nullable=False),
        sa.Column("return_time", TIME),
        sa.CheckConstraint("kind IN ('REFUND', 'DISPUTE')", name=op.f("outside_refunds_kind_ck")),
        sa.CheckConstraint("credited BETWEEN 0 AND amount", name=op.f("outside_refunds_credited_ck")),
        sa.PrimaryKeyConstraint("event_id", "provider", "refund_id", name=op.f("outside_refunds_pk")),
    )
    op.create_index(op.f("outside_refunds_event_id_purchase_id_ix"), "outside_refunds", ["event_id", "purchase_id"])


def _create_disputes() -> None:
    op.create_table(
        "disputes",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("dispute_id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("blocked_ticket_ids", ARRAY(sa.UUID()), nullable=False),
        sa.CheckConstraint("status IN ('INQUIRY', 'OPEN', 'WON', 'LOST', 'CLOSED')", name=op.f("disputes_status_ck")),
        sa.PrimaryKeyConstraint("event_id", "dispute_id", name=op.f("disputes_pk")),
        sa.UniqueConstraint("provider", "provider_id", name=op.f("disputes_provider_provider_id_uq")),
    )
    op.create_index(op.f("disputes_event_id_purchase_id_ix"), "disputes", ["event_id", "purchase_id"])


def _create_unmatched_payments() -> None:
    op.create_table(
        "unmatched_payments",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("provider", "payment_id", name=op.f("unmatched_payments_pk")),
    )


def _create_reconciler() -> None:
    op.create_table(
        "reconciliation_progress",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("due_time", TIME, nullable=False),
        sa.Column("begin_time", TIME),
        sa.Column("listing", sa.Text(), nullable=False),
        sa.Column("after", sa.Text()),
        sa.Column("since", TIME),
        sa.Column("is_whole", sa.Boolean(), nullable=False),
        sa.Column("success_time", TIME),
        sa.Column("whole_success_time", TIME),
        sa.Column("epoch", sa.UUID()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("reconciliation_progress_pk")),
    )
    op.create_table(
        "reconciliation_queue",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("due_time", TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("wakes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "payment_id", name=op.f("reconciliation_queue_pk")),
    )
    op.create_index("reconciliation_queue_due_ix", "reconciliation_queue", ["due_time"])
