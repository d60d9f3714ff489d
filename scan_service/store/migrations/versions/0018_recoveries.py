"""Recoveries after a restore of the database, and the server on which the database was last seen."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

revision = "0018"
down_revision = "0017"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Add the table and the columns, which a process of the version before leaves alone."""
    op.create_table(
        "recoveries",
        sa.Column("recovery_id", UUID, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since_time", TIME, nullable=False),
        sa.Column("begin_time", TIME, nullable=False),
        sa.Column("after_event_id", UUID),
        sa.Column("after_ticket_id", UUID),
        sa.Column("check_ins_time", TIME),
        sa.Column("devices_time", TIME),
        sa.Column("recovered", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("annulled", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("restored_devices", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("revoked_devices", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("close_time", TIME),
        sa.PrimaryKeyConstraint("recovery_id", name=op.f("recoveries_pk")),
        sa.CheckConstraint("cause IN ('OPERATOR', 'SERVER', 'TRANSACTIONS')", name=op.f("recoveries_cause_ck")),
    )
    op.add_column("feed", sa.Column("server", sa.Text()))
    op.add_column("feed", sa.Column("seen_time", TIME))
    op.add_column("devices", sa.Column("resent_recovery_id", UUID))
    op.add_column("devices", sa.Column("reported", sa.Boolean(), nullable=False, server_default=sa.false()))
