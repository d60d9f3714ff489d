"""Which incidents the ticket service was told of, so that whoever takes notifications hears of each."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Count what there is as reported: nobody is to be called out tonight for what happened last year."""
    op.add_column("incidents", sa.Column("reported", sa.Boolean, nullable=False, server_default=sa.true()))
    op.alter_column("incidents", "reported", server_default=sa.false())
    op.create_index(
        "incidents_unreported_ix", "incidents", ["event_id", "incident_id"], postgresql_where=sa.text("NOT reported")
    )
