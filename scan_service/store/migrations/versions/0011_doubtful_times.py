"""The mark of scans whose time may be wrong."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; the constant default takes no rewrite, and the previous version inserts scans without it."""
    op.add_column("scans", sa.Column("doubtful_time", sa.Boolean(), nullable=False, server_default=sa.false()))
