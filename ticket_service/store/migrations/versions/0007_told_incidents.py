"""Create the table of incidents that have caused a notification: the scan service may report an incident again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "told_incidents",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("create_time", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "incident_id", name=op.f("told_incidents_pk")),
    )
