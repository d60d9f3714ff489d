"""Offline scans and incidents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0002"
down_revision = "0001"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables of incidents, and allow records of any offline admission."""
    op.add_column("scans", sa.Column("doubt", sa.Text()))
    op.drop_constraint(op.f("scans_ticket_ck"), "scans")
    op.create_check_constraint(
        op.f("scans_ticket_ck"),
        "scans",
        "verdict = 'DENIED' OR offline OR ticket_event_id = event_id AND ticket_id IS NOT NULL",
    )
    op.create_check_constraint(op.f("scans_annul_time_ck"), "scans", "annul_time IS NULL OR verdict = 'ADMITTED'")
    op.create_table(
        "incidents",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.UUID(), nullable=False),
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID()),
        sa.Column("create_time", TIME, nullable=False),
        sa.CheckConstraint(
            "kind IN ('DOUBLE_ADMISSION', 'REVOKED_ADMISSION', 'FORGED_TOKEN', 'UNKNOWN_ADMISSION',"
            " 'INVALID_ADMISSION', 'CODE_GUESSING')",
            name=op.f("incidents_kind_ck"),
        ),
        sa.PrimaryKeyConstraint("event_id", "kind", "subject", name=op.f("incidents_pk")),
        sa.UniqueConstraint("event_id", "incident_id", name=op.f("incidents_event_id_incident_id_uq")),
    )
    op.create_table(
        "incident_scans",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.UUID(), nullable=False),
        sa.Column("scan_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "kind", "subject", "scan_id", name=op.f("incident_scans_pk")),
    )
    op.create_index(op.f("incident_scans_event_id_scan_id_ix"), "incident_scans", ["event_id", "scan_id"], unique=False)
