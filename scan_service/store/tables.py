"""The tables of the scans database. The migrations create them, and a test compares the two.

As in the tickets database, tables that grow have no foreign keys, and `event_id` leads every key. The replica of a
ticket and its admission state share one row: gate, cancellation and feed compete for this row alone.
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

# The replica of events.
events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("organizer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("admission_policy", sa.Text, nullable=False),
    # The value is NULL where the event was cancelled before the feed delivered it.
    sa.Column("valid_from_time", TIME),
    sa.Column("valid_until_time", TIME),
    # The number of the feed's epoch, counted here, and the revision in that epoch: together they order versions.
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # RevokeEvent closes an event: no gate admits any more, whatever the feed delivers.
    sa.Column("closed", sa.Boolean, nullable=False),
    # The IANA name, and the hour at which a day of the event begins, if the organizer has set one.
    sa.Column("time_zone", sa.Text, nullable=False, server_default="UTC"),
    sa.Column("day_change_hour", sa.Integer),
    sa.CheckConstraint("status IN ('DRAFT', 'PUBLISHED', 'CANCELLED', 'COMPLETED')", "status"),
    sa.CheckConstraint(
        "admission_policy IN ('SINGLE_ENTRY', 'RE_ENTRY', 'UNLIMITED', 'ONCE_PER_DAY')", "admission_policy"
    ),
    sa.CheckConstraint("day_change_hour BETWEEN 0 AND 23", "day_change_hour"),
    sa.CheckConstraint("closed OR valid_from_time IS NOT NULL AND valid_until_time IS NOT NULL", "valid_time"),
)

# Apart from `events`, this table lets the feed save tickets without a wait for scans, which lock event rows FOR SHARE.
feed_cursors = sa.Table(
    "feed_cursors",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

# One row: the position of the replica as a whole.
feed = sa.Table(
    "feed",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true()),
    # The epoch is empty before the first message.
    sa.Column("epoch", sa.Text, nullable=False, server_default=""),
    # The number of epochs so far.
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    # The last time at which the replica was known to be complete.
    sa.Column("whole_time", TIME),
    # The epoch of the transaction ids in `tickets.changed_by`; a database restored from a backup gets a new one.
    sa.Column("changes_epoch", UUID, nullable=False, server_default=sa.text("gen_random_uuid()")),
    # The server of this database, and the last time at which a process has seen the database there: see store/recoveries.py.
    sa.Column("server", sa.Text),
    sa.Column("seen_time", TIME),
    sa.CheckConstraint("one", "one"),
)

# The recoveries after a restore of this database or a failover that lost commits. At most one is open.
recoveries = sa.Table(
    "recoveries",
    metadata,
    sa.Column("recovery_id", UUID, primary_key=True),
    sa.Column("cause", sa.Text, nullable=False),
    # Commits after this time may be lost.
    sa.Column("since_time", TIME, nullable=False),
    sa.Column("begin_time", TIME, nullable=False),
    # The position in the check-ins that the ticket service has, and the time at which all of them were taken back.
    sa.Column("after_event_id", UUID),
    sa.Column("after_ticket_id", UUID),
    sa.Column("check_ins_time", TIME),
    # The time at which the devices that the ticket service has were taken back.
    sa.Column("devices_time", TIME),
    # The numbers of check-ins that were taken back and that were annulled.
    sa.Column("recovered", sa.Integer, nullable=False, server_default="0"),
    sa.Column("annulled", sa.Integer, nullable=False, server_default="0"),
    # The numbers of devices whose enrollment and whose revocation was taken back.
    sa.Column("restored_devices", sa.Integer, nullable=False, server_default="0"),
    sa.Column("revoked_devices", sa.Integer, nullable=False, server_default="0"),
    # The value is NULL while devices are asked for their scans.
    sa.Column("close_time", TIME),
    sa.CheckConstraint("cause IN ('OPERATOR', 'SERVER', 'TRANSACTIONS')", "cause"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, primary_key=True),
    # The value is False until the feed delivers the ticket: a token or a revocation created the row.
    sa.Column("known", sa.Boolean, nullable=False),
    # The value is NULL where a revocation came before the feed.
    sa.Column("ticket_type", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("valid_from_time", TIME),
    sa.Column("valid_until_time", TIME),
    # The purchase of a GROUP ticket, by which a group is found; NULL where the feed has not delivered it.
    sa.Column("purchase_id", UUID),
    # The newest issue; older ones are denied.
    sa.Column("issue", sa.Integer, nullable=False),
    sa.Column("code_digest", BYTEA, nullable=False),
    sa.Column("token_digest", BYTEA),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # The first effective check-in: revocations and reports use it.
    sa.Column("check_in_time", TIME),
    # The latest effective check-in: the answer to a second scan shows it.
    sa.Column("entry_scan_id", UUID),
    sa.Column("entry_time", TIME),
    sa.Column("entry_location", sa.Text),
    sa.Column("inside", sa.Boolean, nullable=False),
    # Each change of check_in_time increments sequence; the ticket service has confirmed all up to reported_sequence.
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("reported_sequence", sa.BigInteger, nullable=False),
    # The transaction that last changed the ticket; see store/changes.py.
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
    sa.Index("tickets_group_ix", "event_id", "purchase_id", postgresql_where=sa.text("purchase_id IS NOT NULL")),
    sa.Index(
        "tickets_unreported_ix", "event_id", "ticket_id", postgresql_where=sa.text("sequence > reported_sequence")
    ),
)

# The outcome of each revocation, so that a repeated call gets the same answer.
revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("revocation_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, nullable=False),
    # The check-in that came first; NULL where the ticket was revoked.
    sa.Column("check_in_time", TIME),
    sa.Column("create_time", TIME, nullable=False),
)

# Every scan, by the event of its gate.
scans = sa.Table(
    "scans",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("scan_id", UUID, primary_key=True),
    # See `Attempt.fingerprint`.
    sa.Column("fingerprint", BYTEA, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("scan_type", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("denial_reason", sa.Text),
    sa.Column("ticket_id", UUID),
    # The event of the ticket; differs from event_id with WRONG_EVENT.
    sa.Column("ticket_event_id", UUID),
    sa.Column("ticket_type", sa.Text),
    sa.Column("scan_time", TIME, nullable=False),
    sa.Column("record_time", TIME, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    # Empty for a device, and after the erasure of the user.
    sa.Column("scanner_user_id", sa.Text, nullable=False),
    sa.Column("offline", sa.Boolean, nullable=False),
    sa.Column("annul_time", TIME),
    # The time at which an uploading device says that it annulled the scan. Where annul_time is NULL nevertheless, the
    # claim is beyond the limits of annulments.
    sa.Column("claimed_annul_time", TIME),
    sa.Column("previous_scan_id", UUID),
    sa.Column("previous_time", TIME),
    sa.Column("previous_location", sa.Text),
    sa.Column("metadata", JSONB, nullable=False),
    # The violation: the kind of incident that the admission causes. The column keeps an earlier name.
    sa.Column("doubt", sa.Text),
    sa.Column("doubtful_time", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("looked_up", sa.Boolean, nullable=False, server_default=sa.false()),
    # The issue of the ticket, where known: `code` is masked, and the full code is derived from the issue again.
    sa.Column("issue", sa.Integer),
    # The answer to the scan of a group, or in the record of a further ticket the id of that scan; see `rows.group_row`.
    sa.Column("group_admission", JSONB),
    sa.CheckConstraint("scan_type IN ('CHECK_IN', 'CHECK_OUT', 'ACCESS')", "scan_type"),
    sa.CheckConstraint("verdict IN ('ADMITTED', 'DENIED')", "verdict"),
    sa.CheckConstraint("(verdict = 'DENIED') = (denial_reason IS NOT NULL)", "denial_reason"),
    # An offline device may have admitted any text.
    sa.CheckConstraint(
        "verdict = 'DENIED' OR offline OR ticket_event_id = event_id AND ticket_id IS NOT NULL", "ticket"
    ),
    sa.CheckConstraint("annul_time IS NULL OR verdict = 'ADMITTED'", "annul_time"),
    sa.CheckConstraint("num_nulls(previous_scan_id, previous_time, previous_location) IN (0, 3)", "previous"),
    sa.Index(None, "scan_id"),
    sa.Index(None, "event_id", "record_time", "scan_id"),
    sa.Index(None, "event_id", "ticket_id", "scan_time"),
)

# One row per event, kind and subject. Lists contain the row while scans are assigned: a late scan may explain others.
incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    # The ticket, the digest of a forged token, an id for the device that guesses codes, or the nil UUID.
    sa.Column("subject", UUID, primary_key=True),
    sa.Column("incident_id", UUID, nullable=False),
    # The value is NULL where the ticket is unknown.
    sa.Column("ticket_id", UUID),
    sa.Column("create_time", TIME, nullable=False),
    # The value is True once the ticket service has confirmed the report.
    sa.Column("reported", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint(
        "kind IN ('DOUBLE_ADMISSION', 'REVOKED_ADMISSION', 'FORGED_TOKEN', 'UNKNOWN_ADMISSION', 'INVALID_ADMISSION',"
        " 'CODE_GUESSING', 'INVALID_ANNULMENT', 'REPEATED_ANNULMENT')",
        "kind",
    ),
    sa.UniqueConstraint("event_id", "incident_id"),
    sa.Index("incidents_unreported_ix", "event_id", "incident_id", postgresql_where=sa.text("NOT reported")),
)

# The scans of incidents.
incident_scans = sa.Table(
    "incident_scans",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", UUID, primary_key=True),
    sa.Column("scan_id", UUID, primary_key=True),
    sa.Index(None, "event_id", "scan_id"),
)

# Gate devices: few rows, which belong to an organizer rather than to an event.
devices = sa.Table(
    "devices",
    metadata,
    sa.Column("device_id", UUID, primary_key=True),
    sa.Column("organizer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    # The events to which the device is bound; empty: all events of the organizer are allowed.
    sa.Column("event_ids", ARRAY(UUID), nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    # The digests are hashes, so that a database dump contains no credential.
    sa.Column("code_digest", BYTEA, nullable=False, unique=True),
    sa.Column("enroll_time", TIME),
    sa.Column("token_digest", BYTEA, unique=True),
    sa.Column("last_seen_time", TIME),
    sa.Column("revoke_time", TIME),
    # An open stream advances this time, so that the time expires when the process is killed.
    sa.Column("connected_until", TIME),
    sa.Column("gate_event_id", UUID),
    sa.Column("gate_location", sa.Text),
    sa.Column("gate_types", ARRAY(sa.Text)),
    # The request_id that created it; a repeated request returns the same device.
    sa.Column("request_id", UUID),
    # The last recovery for which the device has sent its scans again.
    sa.Column("resent_recovery_id", UUID),
    # The value is True once the ticket service has the present state of the device.
    sa.Column("reported", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("num_nulls(enroll_time, token_digest) IN (0, 2)", "enroll_time"),
    sa.CheckConstraint("num_nulls(gate_event_id, gate_location, gate_types) IN (0, 3)", "gate"),
    sa.UniqueConstraint("organizer_id", "request_id"),
    sa.Index(None, "organizer_id", "device_id"),
    sa.Index(None, "revoke_time"),
)

# The replica of the public keys of tokens.
signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("key_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("public_key", BYTEA, nullable=False),
    sa.Column("activate_time", TIME, nullable=False),
    sa.Column("retire_time", TIME),
    sa.CheckConstraint("octet_length(public_key) = 32", "public_key"),
)

# The public keys that are retired for good, whatever the ticket service publishes after a restore.
retired_keys = sa.Table(
    "retired_keys",
    metadata,
    sa.Column("public_key", BYTEA, primary_key=True),
    # The tokens of the key are denied from this time on.
    sa.Column("retire_time", TIME, nullable=False),
    sa.CheckConstraint("octet_length(public_key) = 32", "public_key"),
)

# The audit trail: changes that callers made.
changes = sa.Table(
    "changes",
    metadata,
    # The nil UUID: the change concerns no single event.
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("change_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    # The organizer whose event or device it concerns; "" for a signing key.
    sa.Column("organizer_id", sa.Text, nullable=False),
    sa.Column("device_id", UUID),
    sa.Column("ticket_id", UUID),
    sa.Column("scan_id", UUID),
    # Empty after the erasure of the caller, as request_id.
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("roles", ARRAY(sa.Text), nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Index(None, "change_id"),
    sa.Index(None, "organizer_id", "change_id"),
    sa.Index(None, "caller", "change_id"),
    sa.Index("changes_device_id_ix", "device_id", "change_id", postgresql_where=sa.text("device_id IS NOT NULL")),
    sa.Index("changes_ticket_id_ix", "ticket_id", "change_id", postgresql_where=sa.text("ticket_id IS NOT NULL")),
)
