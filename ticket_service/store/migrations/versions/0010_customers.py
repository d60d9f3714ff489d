"""Add bounds per customer, the mark of purchases without a named user, and indexes by customer."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns with constant defaults, and the indexes."""
    for name in ("max_held_per_customer", "max_tickets_per_customer"):
        op.add_column("events", sa.Column(name, sa.Integer()))
        op.add_column("offers", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("purchases", sa.Column("is_guest", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "purchases_held_ix", "purchases", ["user_id", "event_id"], postgresql_where=sa.text("due_time IS NOT NULL")
    )
    op.create_index("contacts_address_ix", "contacts", [sa.text("lower(email)"), "event_id"])
