"""The tables of the scans database; the migrations build them, and a test compares the two.

No foreign keys from tables that grow, and `event_id` first in every key, as in the tickets database. A ticket's copy
and its admission share one row: gate, cancellation and feed compete for that row and for nothing else.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TIMESTAMP, UUID

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "ix": "%(table_name)s_%(column_0_N_name)s_ix",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "ck": "%(table_name)s_%(constraint_name)s_ck",
        "fk": "%(table_name)s_%(column_0_N_name)s_fk",
    }
)

TIME = TIMESTAMP(timezone=True)

# Events as gates need them, copied from the feed.
events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("organizer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("admission_policy", sa.Text, nullable=False),
    # Absent in an event that was called off before the feed brought it.
    sa.Column("valid_from_time", TIME),
    sa.Column("valid_until_time", TIME),
    # Which epoch of the feed, counted here, and the revision in it: together they say what is newer.
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # Called off by RevokeEvent; whatever the feed says, no gate admits any more.
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.CheckConstraint("status IN ('DRAFT', 'PUBLISHED', 'CANCELLED', 'COMPLETED')", "status"),
    sa.CheckConstraint("admission_policy IN ('SINGLE_ENTRY', 'RE_ENTRY', 'UNLIMITED')", "admission_policy"),
    sa.CheckConstraint("closed OR valid_from_time IS NOT NULL AND valid_until_time IS NOT NULL", "valid_time"),
)

# Apart from events, so that copying a sale's tickets never waits for the scans that share the event's row.
feed_cursors = sa.Table(
    "feed_cursors",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

# One row: where the copy stands as a whole.
feed = sa.Table(
    "feed",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true()),
    # Empty before the first message.
    sa.Column("epoch", sa.Text, nullable=False, server_default=""),
    # Counts the epochs seen.
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    # When the copy was last known to hold everything.
    sa.Column("whole_time", TIME),
    # Of the transactions that `tickets.changed_by` names; a database that was restored from a backup is given a new
    # one.
    sa.Column("changes_epoch", UUID, nullable=False, server_default=sa.text("gen_random_uuid()")),
    sa.CheckConstraint("one", "one"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, primary_key=True),
    # False until the feed has brought it: made from its token or by a revocation.
    sa.Column("known", sa.Boolean, nullable=False),
    # Absent where a revocation came before the feed.
    sa.Column("ticket_type", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("valid_from_time", TIME),
    sa.Column("valid_until_time", TIME),
    # The newest that works; older ones are denied.
    sa.Column("issue", sa.Integer, nullable=False),
    sa.Column("code_digest", BYTEA, nullable=False),
    sa.Column("token_digest", BYTEA),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # The first check-in that stands: what cancellations ask for and what is reported.
    sa.Column("check_in_time", TIME),
    # The latest check-in: what a person who comes again is told.
    sa.Column("entry_scan_id", UUID),
    sa.Column("entry_time", TIME),
    sa.Column("entry_location", sa.Text),
    sa.Column("inside", sa.Boolean, nullable=False),
    # Grows whenever check_in_time changes; the second is the last one that the ticket service has confirmed.
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("reported_sequence", sa.BigInteger, nullable=False),
    # The transaction that last changed what gates are told; see store/changes.py.
    sa.Column(
        "changed_by", sa.BigInteger, nullable=False, server_default=sa.text("(pg_current_xact_id()::text)::bigint")
    ),
    sa.CheckConstraint("ticket_type IN ('STANDARD', 'VIP', 'EARLY_BIRD', 'GROUP')", "ticket_type"),
    sa.CheckConstraint("status IN ('ACTIVE', 'CANCELLED', 'REFUNDED', 'BLOCKED')", "status"),
    sa.CheckConstraint("issue >= 1", "issue"),
    sa.CheckConstraint("num_nulls(check_in_time, entry_scan_id, entry_time, entry_location) IN (0, 4)", "entry"),
    sa.CheckConstraint("NOT inside OR entry_time IS NOT NULL", "inside"),
    sa.CheckConstraint("reported_sequence BETWEEN 0 AND sequence", "reported_sequence"),
    sa.Index(None, "code_digest"),
    sa.Index(None, "event_id", "changed_by"),
    sa.Index(
        "tickets_unreported_ix", "event_id", "ticket_id", postgresql_where=sa.text("sequence > reported_sequence")
    ),
)

# What became of each revocation, so that repeating it gives the same answer.
revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("revocation_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, nullable=False),
    # The check-in that was first; absent where it was revoked.
    sa.Column("check_in_time", TIME),
    sa.Column("create_time", TIME, nullable=False),
)

# Every attempt, by the event of the gate where it was made.
scans = sa.Table(
    "scans",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("scan_id", UUID, primary_key=True),
    # Of everything that makes it this scan and no other.
    sa.Column("fingerprint", BYTEA, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("scan_type", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("denial_reason", sa.Text),
    sa.Column("ticket_id", UUID),
    # The ticket's event: another one with WRONG_EVENT.
    sa.Column("ticket_event_id", UUID),
    sa.Column("ticket_type", sa.Text),
    sa.Column("scan_time", TIME, nullable=False),
    sa.Column("record_time", TIME, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("scanner_user_id", sa.Text, nullable=False),
    sa.Column("offline", sa.Boolean, nullable=False),
    sa.Column("annul_time", TIME),
    sa.Column("previous_scan_id", UUID),
    sa.Column("previous_time", TIME),
    sa.Column("previous_location", sa.Text),
    sa.Column("metadata", JSONB, nullable=False),
    # The kind of incident that the rules make of it.
    sa.Column("doubt", sa.Text),
    # Of what was shown, once known: its code is derived of it again, and stands here covered.
    sa.Column("issue", sa.Integer),
    sa.CheckConstraint("scan_type IN ('CHECK_IN', 'CHECK_OUT', 'ACCESS')", "scan_type"),
    sa.CheckConstraint("verdict IN ('ADMITTED', 'DENIED')", "verdict"),
    sa.CheckConstraint("(verdict = 'DENIED') = (denial_reason IS NOT NULL)", "denial_reason"),
    # What a device let in alone may have been anything.
    sa.CheckConstraint(
        "verdict = 'DENIED' OR offline OR ticket_event_id = event_id AND ticket_id IS NOT NULL", "ticket"
    ),
    sa.CheckConstraint("annul_time IS NULL OR verdict = 'ADMITTED'", "annul_time"),
    sa.CheckConstraint("num_nulls(previous_scan_id, previous_time, previous_location) IN (0, 3)", "previous"),
    sa.Index(None, "scan_id"),
    sa.Index(None, "event_id", "record_time", "scan_id"),
    sa.Index(None, "event_id", "ticket_id", "scan_time"),
)

# One for each ticket and kind. Shown only while scans belong to it: a scan that comes in late may explain the others.
incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    # The ticket; what a forged token claims to be; or nil.
    sa.Column("subject", UUID, primary_key=True),
    sa.Column("incident_id", UUID, nullable=False),
    # Once known.
    sa.Column("ticket_id", UUID),
    sa.Column("create_time", TIME, nullable=False),
    # Whether the ticket service has confirmed that it was told.
    sa.Column("reported", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint(
        "kind IN ('DOUBLE_ADMISSION', 'REVOKED_ADMISSION', 'FORGED_TOKEN', 'UNKNOWN_ADMISSION', 'INVALID_ADMISSION',"
        " 'CODE_GUESSING')",
        "kind",
    ),
    sa.UniqueConstraint("event_id", "incident_id"),
    sa.Index("incidents_unreported_ix", "event_id", "incident_id", postgresql_where=sa.text("NOT reported")),
)

# Which scans belong to an incident.
incident_scans = sa.Table(
    "incident_scans",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", UUID, primary_key=True),
    sa.Column("scan_id", UUID, primary_key=True),
    sa.Index(None, "event_id", "scan_id"),
)

# Gate devices. Few, and of an organizer rather than of an event.
devices = sa.Table(
    "devices",
    metadata,
    sa.Column("device_id", UUID, primary_key=True),
    sa.Column("organizer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    # Empty: all of the organizer's.
    sa.Column("event_ids", ARRAY(UUID), nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    # Hashes: no dump of the database lets anybody scan.
    sa.Column("code_digest", BYTEA, nullable=False, unique=True),
    sa.Column("enroll_time", TIME),
    sa.Column("token_digest", BYTEA, unique=True),
    sa.Column("last_seen_time", TIME),
    sa.Column("revoke_time", TIME),
    # Put forward while a stream is open, so that it holds by itself when a process dies.
    sa.Column("connected_until", TIME),
    sa.Column("gate_event_id", UUID),
    sa.Column("gate_location", sa.Text),
    sa.Column("gate_types", ARRAY(sa.Text)),
    sa.CheckConstraint("num_nulls(enroll_time, token_digest) IN (0, 2)", "enroll_time"),
    sa.CheckConstraint("num_nulls(gate_event_id, gate_location, gate_types) IN (0, 3)", "gate"),
    sa.Index(None, "organizer_id", "device_id"),
    sa.Index(None, "revoke_time"),
)

# Public keys of tokens, copied from the ticket service.
signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("key_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("public_key", BYTEA, nullable=False),
    sa.Column("activate_time", TIME, nullable=False),
    sa.Column("retire_time", TIME),
    sa.CheckConstraint("octet_length(public_key) = 32", "public_key"),
)
