"""The tables of the first release: the replica of the tickets, revocations, scans and public keys.

The migration does not import `tables`, because `tables` changes later.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, TIMESTAMP

revision = "0001"
down_revision = None
# The other service has no table of this name, so it proves whose tables a database contains.
own_table = "scans"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _create_events()
    _create_feed_cursors()
    _create_feed()
    _create_tickets()
    _create_revocations()
    _create_scans()
    _create_signing_keys()
    op.execute("INSERT INTO feed DEFAULT VALUES")


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("organizer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("admission_policy", sa.Text(), nullable=False),
        sa.Column("valid_from_time", TIME),
        sa.Column("valid_until_time", TIME),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "admission_policy IN ('SINGLE_ENTRY', 'RE_ENTRY', 'UNLIMITED')", name=op.f("events_admission_policy_ck")
        ),
        sa.CheckConstraint("status IN ('DRAFT', 'PUBLISHED', 'CANCELLED', 'COMPLETED')", name=op.f("events_status_ck")),
        sa.CheckConstraint(
            "closed OR valid_from_time IS NOT NULL AND valid_until_time IS NOT NULL", name=op.f("events_valid_time_ck")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("events_pk")),
    )


def _create_feed_cursors() -> None:
    op.create_table(
        "feed_cursors",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("feed_cursors_pk")),
    )


def _create_feed() -> None:
    op.create_table(
        "feed",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("epoch", sa.Text(), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("whole_time", TIME),
        sa.CheckConstraint("one", name=op.f("feed_one_ck")),
        sa.PrimaryKeyConstraint("one", name=op.f("feed_pk")),
    )


def _create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("ticket_type", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("valid_from_time", TIME),
        sa.Column("valid_until_time", TIME),
        sa.Column("issue", sa.Integer(), nullable=False),
        sa.Column("code_digest", BYTEA(), nullable=False),
        sa.Column("token_digest", BYTEA()),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("check_in_time", TIME),
        sa.Column("entry_scan_id", sa.UUID()),
        sa.Column("entry_time", TIME),
        sa.Column("entry_location", sa.Text()),
        sa.Column("inside", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("reported_sequence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'CANCELLED', 'REFUNDED', 'BLOCKED')", name=op.f("tickets_status_ck")),
        sa.CheckConstraint(
            "ticket_type IN ('STANDARD', 'VIP', 'EARLY_BIRD', 'GROUP')", name=op.f("tickets_ticket_type_ck")
        ),
        sa.CheckConstraint("NOT inside OR entry_time IS NOT NULL", name=op.f("tickets_inside_ck")),
        sa.CheckConstraint("issue >= 1", name=op.f("tickets_issue_ck")),
        sa.CheckConstraint(
            "num_nulls(check_in_time, entry_scan_id, entry_time, entry_location) IN (0, 4)",
            name=op.f("tickets_entry_ck"),
        ),
        sa.CheckConstraint("reported_sequence BETWEEN 0 AND sequence", name=op.f("tickets_reported_sequence_ck")),
        sa.PrimaryKeyConstraint("event_id", "ticket_id", name=op.f("tickets_pk")),
    )
    op.create_index(op.f("tickets_code_digest_ix"), "tickets", ["code_digest"], unique=False)
    op.create_index(
        "tickets_unreported_ix",
        "tickets",
        ["event_id", "ticket_id"],
        unique=False,
        postgresql_where=sa.text("sequence > reported_sequence"),
    )


def _create_revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("revocation_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID(), nullable=False),
        sa.Column("check_in_time", TIME),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "revocation_id", name=op.f("revocations_pk")),
    )


def _create_scans() -> None:
    op.create_table(
        "scans",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("scan_id", sa.UUID(), nullable=False),
        sa.Column("fingerprint", BYTEA(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("scan_type", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("denial_reason", sa.Text()),
        sa.Column("ticket_id", sa.UUID()),
        sa.Column("ticket_event_id", sa.UUID()),
        sa.Column("ticket_type", sa.Text()),
        sa.Column("scan_time", TIME, nullable=False),
        sa.Column("record_time", TIME, nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("scanner_user_id", sa.Text(), nullable=False),
        sa.Column("offline", sa.Boolean(), nullable=False),
        sa.Column("annul_time", TIME),
        sa.Column("previous_scan_id", sa.UUID()),
        sa.Column("previous_time", TIME),
        sa.Column("previous_location", sa.Text()),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.CheckConstraint("(verdict = 'DENIED') = (denial_reason IS NOT NULL)", name=op.f("scans_denial_reason_ck")),
        sa.CheckConstraint("scan_type IN ('CHECK_IN', 'CHECK_OUT', 'ACCESS')", name=op.f("scans_scan_type_ck")),
        sa.CheckConstraint(
            "verdict = 'DENIED' OR ticket_event_id = event_id AND ticket_id IS NOT NULL", name=op.f("scans_ticket_ck")
        ),
        sa.CheckConstraint("verdict IN ('ADMITTED', 'DENIED')", name=op.f("scans_verdict_ck")),
        sa.CheckConstraint(
            "num_nulls(previous_scan_id, previous_time, previous_location) IN (0, 3)", name=op.f("scans_previous_ck")
        ),
        sa.PrimaryKeyConstraint("event_id", "scan_id", name=op.f("scans_pk")),
    )
    op.create_index(
        op.f("scans_event_id_record_time_scan_id_ix"), "scans", ["event_id", "record_time", "scan_id"], unique=False
    )
    op.create_index(
        op.f("scans_event_id_ticket_id_scan_time_ix"), "scans", ["event_id", "ticket_id", "scan_time"], unique=False
    )
    op.create_index(op.f("scans_scan_id_ix"), "scans", ["scan_id"], unique=False)


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("public_key", BYTEA(), nullable=False),
        sa.Column("activate_time", TIME, nullable=False),
        sa.Column("retire_time", TIME),
        sa.CheckConstraint("octet_length(public_key) = 32", name=op.f("signing_keys_public_key_ck")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("signing_keys_pk")),
    )
