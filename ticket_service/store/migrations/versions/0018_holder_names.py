"""The permission of an event to show the holder's name at its gates."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column; the constant default takes no rewrite, and the previous version inserts events without it."""
    op.add_column("events", sa.Column("show_holder_name", sa.Boolean(), nullable=False, server_default=sa.false()))
