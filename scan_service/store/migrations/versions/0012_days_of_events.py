"""The admission policy ONCE_PER_DAY, and the time zone and the hour of change that divide an event into days."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns with defaults, which a process of the version before leaves alone, and the policy.

    The feed delivers every current event again after the migration of the ticket service, which comes later.
    """
    op.add_column("events", sa.Column("time_zone", sa.Text, nullable=False, server_default="UTC"))
    op.add_column("events", sa.Column("day_change_hour", sa.Integer))
    # The table is small: PostgreSQL checks it in milliseconds.
    op.drop_constraint(op.f("events_admission_policy_ck"), "events")
    op.create_check_constraint(
        op.f("events_admission_policy_ck"),
        "events",
        "admission_policy IN ('SINGLE_ENTRY', 'RE_ENTRY', 'UNLIMITED', 'ONCE_PER_DAY')",
    )
    op.create_check_constraint(op.f("events_day_change_hour_ck"), "events", "day_change_hour BETWEEN 0 AND 23")
