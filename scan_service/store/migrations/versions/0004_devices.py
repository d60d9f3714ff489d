"""Gate devices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, TIMESTAMP

revision = "0004"
down_revision = "0003"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "devices",
        sa.Column("device_id", sa.UUID(), nullable=False),
        sa.Column("organizer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("event_ids", ARRAY(sa.UUID()), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("code_digest", BYTEA(), nullable=False),
        sa.Column("enroll_time", TIME),
        sa.Column("token_digest", BYTEA()),
        sa.Column("last_seen_time", TIME),
        sa.Column("revoke_time", TIME),
        sa.Column("connected_until", TIME),
        sa.Column("gate_event_id", sa.UUID()),
        sa.Column("gate_location", sa.Text()),
        sa.Column("gate_types", ARRAY(sa.Text())),
        sa.CheckConstraint("num_nulls(enroll_time, token_digest) IN (0, 2)", name=op.f("devices_enroll_time_ck")),
        sa.CheckConstraint(
            "num_nulls(gate_event_id, gate_location, gate_types) IN (0, 3)", name=op.f("devices_gate_ck")
        ),
        sa.PrimaryKeyConstraint("device_id", name=op.f("devices_pk")),
        sa.UniqueConstraint("code_digest", name=op.f("devices_code_digest_uq")),
        sa.UniqueConstraint("token_digest", name=op.f("devices_token_digest_uq")),
    )
    op.create_index(op.f("devices_organizer_id_device_id_ix"), "devices", ["organizer_id", "device_id"], unique=False)
    op.create_index(op.f("devices_revoke_time_ix"), "devices", ["revoke_time"], unique=False)
