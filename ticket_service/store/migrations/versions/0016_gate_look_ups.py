"""The permission of an event for look-ups at its gates."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column; the constant default takes no rewrite, and the previous version inserts events without it."""
    op.add_column("events", sa.Column("allow_gate_look_up", sa.Boolean(), nullable=False, server_default=sa.false()))
