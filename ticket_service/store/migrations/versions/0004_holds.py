"""Add holds to purchases, and refunds to payments that came too late or twice."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0004"
down_revision = "0003"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Add the columns; every existing purchase was paid when it was made."""
    op.add_column("purchases", sa.Column("hold_expire_time", TIME))
    op.add_column("purchases", sa.Column("due_time", TIME))
    op.create_check_constraint(
        op.f("purchases_hold_ck"),
        "purchases",
        "(status = 'HELD') = (due_time IS NOT NULL) AND (status <> 'HELD' OR hold_expire_time IS NOT NULL)",
    )
    op.create_index("purchases_due_ix", "purchases", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL"))
    op.add_column("payments", sa.Column("refund_due", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("payments", sa.Column("refund_id", sa.Text()))
    op.create_check_constraint(op.f("payments_refund_ck"), "payments", "refund_due OR refund_id IS NULL")
