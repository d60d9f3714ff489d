"""Create the table of gate devices, which the scan service reports."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "gate_devices",
        sa.Column("device_id", sa.UUID(), nullable=False),
        sa.Column("update_time", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("gate_devices_pk")),
    )
