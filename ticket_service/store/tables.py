"""The tables of the tickets database; the migrations create them, and a test compares the two.

The domain objects describe the columns. Tables that grow have no foreign keys: each would cost a look-up for each row
of a sale, and every writer locks the row of the event first anyway. Check constraints repeat the invariants. The
primary key of every table that grows begins with event_id, so that the table can be distributed by event.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TIMESTAMP, UUID

from ticket_service.domain.events import MAX_PRICE

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
PRICE_BOUNDS = f"BETWEEN 0 AND {MAX_PRICE}"


events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("organizer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("start_time", TIME, nullable=False),
    sa.Column("end_time", TIME, nullable=False),
    sa.Column("doors_open_time", TIME),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("is_online", sa.Boolean, nullable=False),
    sa.Column("max_participants", sa.Integer),
    sa.Column("reserved", sa.Integer, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("ticket_price", sa.BigInteger, nullable=False),
    # A list of pairs: days_before and percent.
    sa.Column("refund_tiers", JSONB, nullable=False),
    sa.Column("admission_policy", sa.Text, nullable=False),
    sa.Column("image_url", sa.Text, nullable=False),
    sa.Column("metadata", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("update_time", TIME, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("changed_revision", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("max_held_per_customer", sa.Integer),
    sa.Column("max_tickets_per_customer", sa.Integer),
    sa.Column("day_change_hour", sa.Integer),
    sa.Column("allow_gate_look_up", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("show_holder_name", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("status IN ('DRAFT', 'PUBLISHED', 'CANCELLED')", "status"),
    sa.CheckConstraint("end_time > start_time AND doors_open_time <= start_time", "times"),
    sa.CheckConstraint("reserved >= 0 AND reserved <= max_participants", "reserved"),
    sa.CheckConstraint(f"ticket_price {PRICE_BOUNDS}", "ticket_price"),
    sa.CheckConstraint("revision >= changed_revision", "revision"),
    sa.Index(None, "start_time", "event_id"),
    sa.Index(None, "status", "start_time"),
    sa.Index(None, "organizer_id", "start_time"),
    # The poller of the feed uses this index. No index contains a column that a sale changes, so PostgreSQL updates the
    # row of a hot event in place (HOT).
    sa.Index(None, "end_time"),
)

offers = sa.Table(
    "offers",
    metadata,
    sa.Column("event_id", UUID, sa.ForeignKey(events.c.event_id), primary_key=True),
    sa.Column("ticket_type", sa.Text, primary_key=True),
    # The place of the offer in the price list.
    sa.Column("position", sa.SmallInteger, nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    sa.Column("capacity", sa.Integer),
    sa.Column("reserved", sa.Integer, nullable=False),
    sa.Column("sales_start_time", TIME),
    sa.Column("sales_end_time", TIME),
    sa.Column("min_per_purchase", sa.Integer, nullable=False),
    sa.Column("max_per_purchase", sa.Integer),
    sa.Column("valid_from_time", TIME),
    sa.Column("valid_until_time", TIME),
    sa.Column("max_held_per_customer", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_tickets_per_customer", sa.Integer, nullable=False, server_default="0"),
    sa.CheckConstraint(f"price {PRICE_BOUNDS}", "price"),
    sa.CheckConstraint("reserved >= 0 AND reserved <= capacity", "reserved"),
    sa.CheckConstraint("min_per_purchase >= 1 AND max_per_purchase >= min_per_purchase", "per_purchase"),
)

# The terms that an event no longer has; without a row the present terms are those of every purchase.
past_terms = sa.Table(
    "past_terms",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    # The last version of the event with these terms.
    sa.Column("version", sa.BigInteger, primary_key=True),
    # A list of pairs: days_before and percent.
    sa.Column("refund_tiers", JSONB, nullable=False),
    sa.Column("start_time", TIME, nullable=False),
    sa.Column("end_time", TIME, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("replace_time", TIME, nullable=False),
    # A move gives the right to a full refund until this time.
    sa.Column("full_refund_until", TIME),
)

purchases = sa.Table(
    "purchases",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    # The items as [[ticket_type, quantity, unit_price], ...]; they never change.
    sa.Column("items", JSONB, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text),
    # The metadata from the buyer, which each ticket of the purchase shows.
    sa.Column("metadata", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    sa.Column("hold_expire_time", TIME),
    sa.Column("due_time", TIME),
    sa.Column("payment_method", sa.Text),
    sa.Column("client_secret", sa.Text),
    sa.Column("decline_code", sa.Text),
    # The version of the event at the purchase; NULL: a process of an older version made it.
    sa.Column("event_version", sa.BigInteger),
    sa.Column("is_guest", sa.Boolean, nullable=False, server_default=sa.false()),
    # A BCP 47 tag; '': the buyer named none, or only in the metadata.
    sa.Column("language", sa.Text, nullable=False, server_default=""),
    sa.CheckConstraint(
        "status IN ('HELD', 'COMPLETED', 'EXPIRED', 'RELEASED', 'DECLINED', 'REFUNDING', 'REFUNDED')", "status"
    ),
    sa.CheckConstraint("(status = 'HELD') = (complete_time IS NULL)", "complete_time"),
    sa.CheckConstraint("total >= 0", "total"),
    sa.CheckConstraint(
        "(status = 'HELD') = (due_time IS NOT NULL) AND (status <> 'HELD' OR hold_expire_time IS NOT NULL)", "hold"
    ),
    sa.CheckConstraint("status = 'HELD' OR client_secret IS NULL", "client_secret"),
    sa.Index("purchases_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
    # The holds of a customer; the user id precedes the event, because a customer has few holds and an event many.
    sa.Index("purchases_held_ix", "user_id", "event_id", postgresql_where=sa.text("due_time IS NOT NULL")),
    sa.Index(None, "purchase_id"),
    sa.Index(None, "user_id", "purchase_id"),
    # The payment of a COMPLETED purchase is found in `payments`, so that a sale writes no further index.
    sa.Index(
        "purchases_payment_ix",
        "payment_id",
        postgresql_where=sa.text("status <> 'COMPLETED' AND payment_id IS NOT NULL"),
    ),
    sa.Index(
        "purchases_ended_ix",
        "status",
        "purchase_id",
        postgresql_where=sa.text("status NOT IN ('HELD', 'COMPLETED')"),
    ),
)

# The e-mail addresses of buyers stand apart from their purchases, so that an address can be erased.
contacts = sa.Table(
    "contacts",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Index("contacts_address_ix", sa.text("lower(email)"), "event_id"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("ticket_type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    sa.Column("valid_from_time", TIME),
    sa.Column("valid_until_time", TIME),
    sa.Column("check_in_time", TIME),
    # The sequence of the last applied report; a report with a lower sequence is outdated.
    sa.Column("check_in_sequence", sa.BigInteger, nullable=False),
    sa.Column("issue", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("code_digest", BYTEA, nullable=False),
    sa.Column("token_digest", BYTEA),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("update_time", TIME, nullable=False),
    # The sum of `ticket_refunds`.
    sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("status IN ('ACTIVE', 'CANCELLED', 'REFUNDED', 'BLOCKED')", "status"),
    sa.CheckConstraint(f"price {PRICE_BOUNDS}", "price"),
    sa.CheckConstraint("issue >= 1", "issue"),
    sa.UniqueConstraint("event_id", "revision"),
    sa.Index(None, "ticket_id"),
    sa.Index(None, "event_id", "purchase_id"),
    sa.Index(None, "event_id", "status"),
    sa.Index(None, "user_id", "status"),
    sa.Index(None, "code_digest"),
    # No index contains the check-in: with free space on the page, PostgreSQL updates the row in place (HOT).
    postgresql_with={"fillfactor": 80},
)

cancellations = sa.Table(
    "cancellations",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("cancellation_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("refund_amount", sa.BigInteger, nullable=False),
    sa.Column("refund_percent", sa.SmallInteger, nullable=False),
    sa.Column("refund_id", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("failure", sa.Text),
    sa.Column("check_in_time", TIME),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("check_in_annulled", sa.Boolean, nullable=False, server_default=sa.false()),
    # NULL: a process of an older version recorded the cancellation.
    sa.Column("refund_basis", sa.Text),
    sa.CheckConstraint("status IN ('PENDING', 'REFUNDING', 'DONE', 'REJECTED', 'REFUND_FAILED')", "status"),
    sa.CheckConstraint("(status IN ('DONE', 'REJECTED')) = (complete_time IS NOT NULL)", "complete_time"),
    sa.CheckConstraint("refund_percent BETWEEN 0 AND 100", "refund_percent"),
    sa.CheckConstraint(f"refund_amount {PRICE_BOUNDS}", "refund_amount"),
    sa.Index(None, "cancellation_id"),
    # A ticket is cancelled once; only a REJECTED cancellation may be followed by another one.
    sa.Index(
        "cancellations_ticket_uq",
        "event_id",
        "ticket_id",
        unique=True,
        postgresql_where=sa.text("status <> 'REJECTED'"),
    ),
    sa.Index("cancellations_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
    sa.Index(
        "cancellations_owed_ix",
        "event_id",
        "create_time",
        postgresql_where=sa.text("status IN ('REFUNDING', 'REFUND_FAILED')"),
    ),
)

# Refunds of a part of a ticket's price without a cancellation.
ticket_refunds = sa.Table(
    "ticket_refunds",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("ticket_refund_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, nullable=False),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("refund_id", sa.Text),
    sa.Column("complete_time", TIME),
    sa.CheckConstraint("status IN ('REFUNDING', 'DONE')", "status"),
    sa.CheckConstraint("(status = 'DONE') = (refund_id IS NOT NULL AND complete_time IS NOT NULL)", "done"),
    sa.CheckConstraint("amount > 0", "amount"),
    sa.Index(None, "ticket_refund_id"),
    sa.Index("ticket_refunds_owed_ix", "event_id", "create_time", postgresql_where=sa.text("status = 'REFUNDING'")),
)

# The progress of event cancellations. The table keeps its first name, because two versions run beside each other.
event_cancellations = sa.Table(
    "callings_off",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("gates_closed_time", TIME),
    sa.Column("after_ticket_id", UUID),
    sa.Column("complete_time", TIME),
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("(complete_time IS NULL) = (due_time IS NOT NULL)", "complete_time"),
    sa.CheckConstraint("gates_closed_time IS NOT NULL OR (after_ticket_id IS NULL AND complete_time IS NULL)", "order"),
    sa.Index("callings_off_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
)

reissues = sa.Table(
    "reissues",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("reissue_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("request_id", UUID, nullable=False),
    sa.Column("issue", sa.Integer, nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("check_in_time", TIME),
    sa.Column("complete_time", TIME),
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("status IN ('PENDING', 'DONE', 'REJECTED')", "status"),
    sa.CheckConstraint("(status = 'PENDING') = (complete_time IS NULL)", "complete_time"),
    sa.CheckConstraint("(status = 'PENDING') = (due_time IS NOT NULL)", "due_time"),
    # A ticket has one PENDING reissue at a time, because each increments the issue.
    sa.Index(
        "reissues_ticket_uq", "event_id", "ticket_id", unique=True, postgresql_where=sa.text("status = 'PENDING'")
    ),
    sa.Index("reissues_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
    sa.Index("reissues_address_ix", sa.text("lower(email)"), postgresql_where=sa.text("email <> ''")),
)

# Each payment pays one purchase.
payments = sa.Table(
    "payments",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("event_id", UUID, nullable=False),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    # A late or second payment is to be refunded.
    sa.Column("refund_due", sa.Boolean, nullable=False, server_default=sa.false()),
    # The provider's own id of the refund.
    sa.Column("refund_id", sa.Text),
    sa.CheckConstraint("amount >= 0", "amount"),
    sa.CheckConstraint("refund_due OR refund_id IS NULL", "refund"),
    sa.Index(None, "event_id", "purchase_id"),
    sa.Index(
        "payments_owed_ix", "event_id", "create_time", postgresql_where=sa.text("refund_due AND refund_id IS NULL")
    ),
)

refund_orders = sa.Table(
    "refund_orders",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    # The order of a cancellation has the id of the cancellation.
    sa.Column("order_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("cancellation_id", UUID),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("refund_id", sa.Text),
    sa.Column("failure", sa.Text),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("is_by_hand", sa.Boolean, nullable=False, server_default=sa.false()),
    # The part of the amount that outside refunds cover.
    sa.Column("credited", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("status IN ('PENDING', 'DONE', 'FAILED')", "status"),
    sa.CheckConstraint("(status = 'PENDING') = (due_time IS NOT NULL)", "due_time"),
    sa.CheckConstraint("(status = 'DONE') = (refund_id IS NOT NULL AND complete_time IS NOT NULL)", "done"),
    sa.CheckConstraint("amount > 0", "amount"),
    sa.CheckConstraint("credited BETWEEN 0 AND amount", "credited"),
    sa.Index(None, "event_id", "purchase_id"),
    sa.Index("refund_orders_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
)

# A trigger refuses every update and delete.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("entry_id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("order_id", UUID),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text),
    sa.Column("refund_id", sa.Text),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.CheckConstraint(
        "kind IN ('CHARGE_TRIED', 'CHARGED', 'DECLINED', 'WITHDRAWN', 'REFUND_TRIED', 'REFUNDED', 'REFUND_REFUSED',"
        " 'REFUND_RETURNED', 'DISPUTED', 'DISPUTE_WON', 'DISPUTE_LOST')",
        "kind",
    ),
    sa.CheckConstraint("amount >= 0", "amount"),
    sa.Index(None, "event_id", "purchase_id"),
)

# Money that returned to buyers without an order: refunds made at the provider, and lost disputes.
outside_refunds = sa.Table(
    "outside_refunds",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("provider", sa.Text, primary_key=True),
    # The provider's own id of the refund or the dispute.
    sa.Column("refund_id", sa.Text, primary_key=True),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    # The part of the amount that counts for refund orders.
    sa.Column("credited", sa.BigInteger, nullable=False),
    # The time when the money came back.
    sa.Column("return_time", TIME),
    sa.CheckConstraint("kind IN ('REFUND', 'DISPUTE')", "kind"),
    sa.CheckConstraint("credited BETWEEN 0 AND amount", "credited"),
    sa.Index(None, "event_id", "purchase_id"),
)

disputes = sa.Table(
    "disputes",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("dispute_id", UUID, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    # The provider's own id of the dispute.
    sa.Column("provider_id", sa.Text, nullable=False),
    sa.Column("purchase_id", UUID, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("update_time", TIME, nullable=False),
    sa.Column("blocked_ticket_ids", ARRAY(UUID), nullable=False),
    sa.CheckConstraint("status IN ('INQUIRY', 'OPEN', 'WON', 'LOST', 'CLOSED')", "status"),
    sa.UniqueConstraint("provider", "provider_id"),
    sa.Index(None, "event_id", "purchase_id"),
)

# Captured payments whose purchase is not in this database, as after a restore; an operator has to refund them.
unmatched_payments = sa.Table(
    "unmatched_payments",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, primary_key=True),
    # The ids that the provider stores with the payment.
    sa.Column("purchase_id", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("refunded", sa.BigInteger, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
)

# One row for each provider: the next step of the present look at its listings.
reconciliation_progress = sa.Table(
    "reconciliation_progress",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("due_time", TIME, nullable=False),
    sa.Column("begin_time", TIME),
    sa.Column("listing", sa.Text, nullable=False),
    # The provider's id of the last record of the page before.
    sa.Column("after", sa.Text),
    sa.Column("since", TIME),
    sa.Column("is_whole", sa.Boolean, nullable=False),
    sa.Column("success_time", TIME),
    sa.Column("whole_success_time", TIME),
    sa.Column("epoch", UUID),
    sa.Column("failures", sa.Integer, nullable=False),
)

# Payments to compare with their provider; a compared payment is deleted.
reconciliation_queue = sa.Table(
    "reconciliation_queue",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("due_time", TIME, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("wakes", sa.Integer, nullable=False),
    sa.Index("reconciliation_queue_due_ix", "due_time"),
)

# The audit trail. A change that concerns no single event has the nil UUID as its event.
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("change_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("purchase_id", UUID),
    sa.Column("ticket_id", UUID),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("roles", ARRAY(sa.Text), nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Index(None, "change_id"),
    sa.Index(None, "caller", "change_id"),
    sa.Index("changes_purchase_id_ix", "purchase_id", "change_id", postgresql_where=sa.text("purchase_id IS NOT NULL")),
    sa.Index("changes_ticket_id_ix", "ticket_id", "change_id", postgresql_where=sa.text("ticket_id IS NOT NULL")),
)

# An erasure names its subject until it is complete.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("erasure_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text),
    # NULL: the tickets database is done.
    sa.Column("step", sa.Text),
    # The position in the scans database.
    sa.Column("scan_event_id", UUID),
    sa.Column("scan_id", UUID),
    sa.Column("purchases", sa.BigInteger, nullable=False),
    sa.Column("tickets", sa.BigInteger, nullable=False),
    sa.Column("contacts", sa.BigInteger, nullable=False),
    sa.Column("notifications", sa.BigInteger, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("scans", sa.BigInteger, nullable=False),
    sa.Column("kept_events", sa.BigInteger, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("kind IN ('USER', 'ADDRESS')", "kind"),
    sa.CheckConstraint(
        "num_nonnulls(subject, due_time) = CASE WHEN complete_time IS NULL THEN 2 ELSE 0 END", "complete_time"
    ),
    sa.Index("erasures_subject_uq", "kind", "subject", unique=True, postgresql_where=sa.text("subject IS NOT NULL")),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    # Empty after the erasure of the caller; the fingerprint is then empty too.
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("request_id", UUID, primary_key=True),
    # A digest of the request's content.
    sa.Column("fingerprint", BYTEA, nullable=False),
    sa.Column("event_id", UUID, nullable=False),
    # The purchase, event or reissue that the request created.
    sa.Column("result_id", UUID, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
)


def _notification(*position: sa.Identity) -> list[sa.Column[Any]]:
    return [
        sa.Column("event_id", UUID, nullable=False),
        # Assigned while the ticket or the event is locked: a later change of a ticket gets a higher position.
        sa.Column("position", sa.BigInteger, *position, nullable=False),
        sa.Column("notification_id", UUID, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        # NULL: the notification is about the whole event, or about an incident without a sold ticket.
        sa.Column("purchase_id", UUID),
        sa.Column("ticket_id", UUID),
        # The buyer or holder.
        sa.Column("user_id", sa.Text),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
    ]


# Notifications, stored in the transaction that causes them; the relay turns them into deliveries, oldest first.
outbox = sa.Table(
    "outbox",
    metadata,
    *_notification(sa.Identity()),
    sa.PrimaryKeyConstraint("event_id", "position"),
    sa.Index("outbox_position_ix", "position"),
)

# Notifications that a relay took from the outbox, kept for a while so that an operator can send them again.
notifications = sa.Table(
    "notifications",
    metadata,
    *_notification(),
    # The receivers that get the notification.
    sa.Column("receivers", ARRAY(sa.Text), nullable=False),
    # Those of `receivers` that get one delivery for each purchase of the event.
    sa.Column("receivers_by_purchase", ARRAY(sa.Text), nullable=False),
    # Not by event: the table is bounded, and an operator has only the id.
    sa.PrimaryKeyConstraint("notification_id"),
    sa.Index("notifications_position_ix", "position"),
)

# Receivers to which the relay makes no deliveries at present.
receiver_states = sa.Table(
    "receiver_states",
    metadata,
    sa.Column("receiver", sa.Text, primary_key=True),
    # The time when the receiver answered that it is gone for good; NULL: it is enabled.
    sa.Column("disabled_time", TIME),
    # The receiver asked for no deliveries before this time.
    sa.Column("paused_until", TIME),
    # The answer of the receiver.
    sa.Column("cause", sa.Text, nullable=False),
)

# Notifications to deliver to one receiver; a delivered row is deleted.
deliveries = sa.Table(
    "deliveries",
    metadata,
    *_notification(),
    sa.Column("receiver", sa.Text, nullable=False),
    # The relay makes the deliveries of one stream in order.
    sa.Column("stream", UUID, nullable=False),
    # The time when a relay tries next, or looks again whether an earlier delivery of the stream is left; at first the
    # create_time. NULL: the delivery is a dead letter.
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("dead_time", TIME),
    # The receiver's last error.
    sa.Column("failure", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("event_id", "receiver", "stream", "notification_id"),
    sa.CheckConstraint("(due_time IS NULL) = (dead_time IS NOT NULL)", "dead_time"),
    sa.Index("deliveries_due_ix", "receiver", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
    sa.Index("deliveries_dead_ix", "receiver", "dead_time", postgresql_where=sa.text("dead_time IS NOT NULL")),
)

# Incidents that have caused a notification, so that a repeated report causes none. No row is ever deleted: each event
# has few incidents, and a restored scan service may report an incident of any age again.
told_incidents = sa.Table(
    "told_incidents",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("incident_id", UUID, primary_key=True),
    sa.Column("create_time", TIME, nullable=False),
)

# The gate devices that the scan service has reported: few rows, which only the scan service reads.
gate_devices = sa.Table(
    "gate_devices",
    metadata,
    sa.Column("device_id", UUID, primary_key=True),
    sa.Column("update_time", TIME, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)

# Public keys stand in the database so that two hosts cannot assign the same key_id.
signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("key_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("public_key", BYTEA, nullable=False, unique=True),
    sa.Column("activate_time", TIME, nullable=False),
    sa.Column("retire_time", TIME),
    sa.CheckConstraint("key_id >= 1", "key_id"),
)

# The recoveries of this database after a restore. While one has not ended, services change nothing.
recoveries = sa.Table(
    "recoveries",
    metadata,
    sa.Column("recovery_id", UUID, primary_key=True),
    # OPERATOR, or LOST_COMMITS where the feed found that the database lacks changes.
    sa.Column("cause", sa.Text, nullable=False),
    # The moment to which the database was restored, as the operator says; NULL: unknown.
    sa.Column("since", TIME),
    sa.Column("begin_time", TIME, nullable=False),
    sa.Column("end_time", TIME),
    sa.Index("recoveries_open_uq", sa.text("(1)"), unique=True, postgresql_where=sa.text("end_time IS NULL")),
)

# The differences that a recovery mended, and what is lost; see `domain.recovery.FindingKind`.
recovery_findings = sa.Table(
    "recovery_findings",
    metadata,
    sa.Column("recovery_id", UUID, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    # The id of the event, ticket, purchase, payment or key.
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("event_id", UUID),
    sa.Column("details", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
)

# One row. The epoch changes when the database is restored from a backup, which invalidates old cursors.
feed = sa.Table(
    "feed",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("epoch", UUID, nullable=False, server_default=sa.text("gen_random_uuid()")),
    # The last time at which a scan service followed the feed.
    sa.Column("follow_time", TIME),
    sa.CheckConstraint("one", "one"),
)
