"""The hour of change that divides an event into days, and the time zones of current events for the scan service."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column, and let each current event take a revision, so that the feed delivers it with its time zone."""
    op.add_column("events", sa.Column("day_change_hour", sa.Integer()))
    op.execute(
        "UPDATE events SET revision = revision + 1, changed_revision = revision + 1"
        " WHERE end_time > now() - interval '1 day'"
    )
