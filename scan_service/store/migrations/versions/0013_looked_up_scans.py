"""The mark of scans of tickets that a gate has looked up."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column; the constant default takes no rewrite, and the previous version inserts scans without it."""
    op.add_column("scans", sa.Column("looked_up", sa.Boolean(), nullable=False, server_default=sa.false()))
