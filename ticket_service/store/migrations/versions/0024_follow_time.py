"""The last time at which a scan service followed the feed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column to the one row of the table."""
    op.add_column("feed", sa.Column("follow_time", TIMESTAMP(timezone=True)))
