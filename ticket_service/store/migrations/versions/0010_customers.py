"""Add bounds per customer, and the mark of purchases without a named user; 0021 builds the indexes by customer."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns with constant defaults."""
    for name in ("max_held_per_customer", "max_tickets_per_customer"):
        op.add_column("events", sa.Column(name, sa.Integer()))
        op.add_column("offers", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("purchases", sa.Column("is_guest", sa.Boolean(), nullable=False, server_default=sa.false()))
