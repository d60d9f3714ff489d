"""Create the table of replaced terms, and let a purchase store the version of its event.

The table starts empty: without a row, the present terms of an event are the terms at purchase of its sold tickets.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0009"
down_revision = "0008"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the table, and add a column that no process of the version before writes."""
    op.create_table(
        "past_terms",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("refund_tiers", JSONB(), nullable=False),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("end_time", TIME, nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("replace_time", TIME, nullable=False),
        sa.Column("full_refund_until", TIME),
        sa.PrimaryKeyConstraint("event_id", "version", name=op.f("past_terms_pk")),
    )
    op.add_column("purchases", sa.Column("event_version", sa.BigInteger()))
