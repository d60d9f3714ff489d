"""Add charges and refunds by a payment provider of this service, and the ledger of all money that moved."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0006"
down_revision = "0005"

TIME = TIMESTAMP(timezone=True)

# Entries of payments and refunds from before the ledger existed.
ENTER_PAYMENTS = """
    INSERT INTO ledger (event_id, purchase_id, provider, kind, payment_id, currency, amount, note, create_time)
    SELECT event_id, purchase_id, provider, 'CHARGED', payment_id, currency, amount, '', create_time FROM payments
"""
ENTER_REFUNDED_PAYMENTS = """
    INSERT INTO ledger
        (event_id, purchase_id, provider, kind, payment_id, refund_id, currency, amount, note, create_time)
    SELECT event_id, purchase_id, provider, 'REFUNDED', payment_id, refund_id, currency, amount, '', create_time
    FROM payments WHERE refund_id IS NOT NULL
"""
ENTER_CANCELLATIONS = """
    INSERT INTO ledger
        (event_id, purchase_id, order_id, provider, kind, payment_id, refund_id, currency, amount, note, create_time)
    SELECT event_id, payments.purchase_id, cancellation_id, payments.provider, 'REFUNDED', payments.payment_id,
           cancellations.refund_id, cancellations.currency, refund_amount, '', complete_time
    FROM cancellations JOIN tickets USING (event_id, ticket_id)
    JOIN payments USING (event_id, purchase_id)
    WHERE cancellations.status = 'DONE' AND refund_amount > 0 AND NOT refund_due
"""


def upgrade() -> None:
    """Create the tables, and enter existing payments and refunds."""
    op.add_column("purchases", sa.Column("payment_method", sa.Text()))
    op.add_column("purchases", sa.Column("client_secret", sa.Text()))
    op.add_column("purchases", sa.Column("decline_code", sa.Text()))
    op.create_check_constraint(
        op.f("purchases_client_secret_ck"), "purchases", "status = 'HELD' OR client_secret IS NULL"
    )
    _create_refund_orders()
    _create_ledger()
    for statement in (ENTER_PAYMENTS, ENTER_REFUNDED_PAYMENTS, ENTER_CANCELLATIONS):
        op.execute(statement)


def _create_refund_orders() -> None:
    op.create_table(
        "refund_orders",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("cancellation_id", sa.UUID()),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("refund_id", sa.Text()),
        sa.Column("failure", sa.Text()),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("complete_time", TIME),
        sa.Column("due_time", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint("status IN ('PENDING', 'DONE', 'FAILED')", name=op.f("refund_orders_status_ck")),
        sa.CheckConstraint("(status = 'PENDING') = (due_time IS NOT NULL)", name=op.f("refund_orders_due_time_ck")),
        sa.CheckConstraint(
            "(status = 'DONE') = (refund_id IS NOT NULL AND complete_time IS NOT NULL)",
            name=op.f("refund_orders_done_ck"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("refund_orders_amount_ck")),
        sa.PrimaryKeyConstraint("event_id", "order_id", name=op.f("refund_orders_pk")),
    )
    op.create_index(
        "refund_orders_due_ix", "refund_orders", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL")
    )


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("entry_id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID()),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text()),
        sa.Column("refund_id", sa.Text()),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.CheckConstraint(
            "kind IN ('CHARGE_TRIED', 'CHARGED', 'DECLINED', 'WITHDRAWN', 'REFUND_TRIED', 'REFUNDED', 'REFUND_REFUSED')",
            name=op.f("ledger_kind_ck"),
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ledger_amount_ck")),
        sa.PrimaryKeyConstraint("event_id", "entry_id", name=op.f("ledger_pk")),
    )
    op.create_index(op.f("ledger_event_id_purchase_id_ix"), "ledger", ["event_id", "purchase_id"])
    op.execute("""
        CREATE FUNCTION keep_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'what stands in the ledger stays';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER keep_ledger BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
        FOR EACH STATEMENT EXECUTE FUNCTION keep_ledger()
    """)
