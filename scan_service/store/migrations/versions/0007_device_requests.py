"""The request_id under which a device was created, so that a repeated request returns the same device."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; the previous version inserts devices without it."""
    op.add_column("devices", sa.Column("request_id", sa.UUID()))
    # The table is small: PostgreSQL builds the index in milliseconds.
    op.create_unique_constraint(op.f("devices_organizer_id_request_id_uq"), "devices", ["organizer_id", "request_id"])
