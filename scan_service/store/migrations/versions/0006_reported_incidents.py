"""The column for incidents that were reported, so that the ticket service notifies each organizer once."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Mark existing incidents as reported: nobody needs a notification about an event of the past."""
    op.add_column("incidents", sa.Column("reported", sa.Boolean, nullable=False, server_default=sa.true()))
    op.alter_column("incidents", "reported", server_default=sa.false())
    op.create_index(
        "incidents_unreported_ix", "incidents", ["event_id", "incident_id"], postgresql_where=sa.text("NOT reported")
    )
