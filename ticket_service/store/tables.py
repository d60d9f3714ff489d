"""The tables of the tickets database; the migrations build them, and a test compares the two.

Tables that grow have no foreign keys: each would cost a look-up for each row of a sale, and every writer locks the
event's row first anyway. Check constraints repeat the invariants. Every table that grows leads its primary key with
event_id, so that it can be distributed by it.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, TIMESTAMP, UUID

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
    # [[days_before, percent], ...]; empty: the default policy.
    sa.Column("refund_tiers", JSONB, nullable=False),
    sa.Column("admission_policy", sa.Text, nullable=False),
    sa.Column("image_url", sa.Text, nullable=False),
    sa.Column("metadata", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("update_time", TIME, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("changed_revision", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.CheckConstraint("status IN ('DRAFT', 'PUBLISHED', 'CANCELLED')", "status"),
    sa.CheckConstraint("end_time > start_time AND doors_open_time <= start_time", "times"),
    sa.CheckConstraint("reserved >= 0 AND reserved <= max_participants", "reserved"),
    sa.CheckConstraint(f"ticket_price {PRICE_BOUNDS}", "ticket_price"),
    sa.CheckConstraint("revision >= changed_revision", "revision"),
    sa.Index(None, "start_time", "event_id"),
    sa.Index(None, "status", "start_time"),
    sa.Index(None, "organizer_id", "start_time"),
    # The feed's poller reads this index. No index contains a column that a sale changes, so a hot event's row is updated
    # in place (HOT).
    sa.Index(None, "end_time"),
)

offers = sa.Table(
    "offers",
    metadata,
    sa.Column("event_id", UUID, sa.ForeignKey(events.c.event_id), primary_key=True),
    sa.Column("ticket_type", sa.Text, primary_key=True),
    # The order in the price list, as its organizer set it.
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
    sa.CheckConstraint(f"price {PRICE_BOUNDS}", "price"),
    sa.CheckConstraint("reserved >= 0 AND reserved <= capacity", "reserved"),
    sa.CheckConstraint("min_per_purchase >= 1 AND max_per_purchase >= min_per_purchase", "per_purchase"),
)

purchases = sa.Table(
    "purchases",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    # [[ticket_type, quantity, unit_price], ...]; never changes.
    sa.Column("items", JSONB, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text),
    # The metadata as the buyer sent it; each ticket of the purchase shows it.
    sa.Column("metadata", JSONB, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    # The time when the hold expires, or did; NULL: the purchase was never held.
    sa.Column("hold_expire_time", TIME),
    # The time when the sweeper processes the purchase next, while HELD.
    sa.Column("due_time", TIME),
    # The payment method that the provider charges; NULL once the purchase left HELD.
    sa.Column("payment_method", sa.Text),
    # The secret with which the buyer's front end finishes the payment; NULL once the purchase left HELD.
    sa.Column("client_secret", sa.Text),
    # The reason why the provider declined.
    sa.Column("decline_code", sa.Text),
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
    sa.Index(None, "purchase_id"),
    sa.Index(None, "user_id", "purchase_id"),
)

# The e-mail addresses of buyers, apart from their purchases so that an address can be erased.
contacts = sa.Table(
    "contacts",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
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
    # The sequence of the last applied report; a report with a lower one is outdated.
    sa.Column("check_in_sequence", sa.BigInteger, nullable=False),
    sa.Column("issue", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("code_digest", BYTEA, nullable=False),
    sa.Column("token_digest", BYTEA),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("update_time", TIME, nullable=False),
    sa.CheckConstraint("status IN ('ACTIVE', 'CANCELLED', 'REFUNDED', 'BLOCKED')", "status"),
    sa.CheckConstraint(f"price {PRICE_BOUNDS}", "price"),
    sa.CheckConstraint("issue >= 1", "issue"),
    sa.UniqueConstraint("event_id", "revision"),
    sa.Index(None, "ticket_id"),
    sa.Index(None, "event_id", "purchase_id"),
    sa.Index(None, "event_id", "status"),
    sa.Index(None, "user_id", "status"),
    sa.Index(None, "code_digest"),
    # Free space for the check-in, which no index contains: the row is updated in place (HOT).
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
    # The check-in that was first, with REJECTED.
    sa.Column("check_in_time", TIME),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    # The time when the sweeper tries next; NULL: the sweeper has nothing to do.
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("status IN ('PENDING', 'REFUNDING', 'DONE', 'REJECTED', 'REFUND_FAILED')", "status"),
    sa.CheckConstraint("(status IN ('DONE', 'REJECTED')) = (complete_time IS NOT NULL)", "complete_time"),
    sa.CheckConstraint("refund_percent BETWEEN 0 AND 100", "refund_percent"),
    sa.CheckConstraint(f"refund_amount {PRICE_BOUNDS}", "refund_amount"),
    sa.Index(None, "cancellation_id"),
    # A ticket has at most one cancellation that was not rejected.
    sa.Index(
        "cancellations_ticket_uq",
        "event_id",
        "ticket_id",
        unique=True,
        postgresql_where=sa.text("status <> 'REJECTED'"),
    ),
    sa.Index("cancellations_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
)

# The progress of event cancellations. The table keeps its first name, because two versions run beside each other.
event_cancellations = sa.Table(
    "callings_off",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    # The time when the scan service confirmed that no gate admits to the event.
    sa.Column("gates_closed_time", TIME),
    # Up to this one, every ticket has a cancellation or needs none.
    sa.Column("after_ticket_id", UUID),
    sa.Column("complete_time", TIME),
    # The time when the sweeper continues; NULL: the cancellation is complete.
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("(complete_time IS NULL) = (due_time IS NOT NULL)", "complete_time"),
    sa.CheckConstraint("gates_closed_time IS NOT NULL OR (after_ticket_id IS NULL AND complete_time IS NULL)", "order"),
    sa.Index("callings_off_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
)

# New issues of tickets, for the same holder or another one.
reissues = sa.Table(
    "reissues",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("reissue_id", UUID, primary_key=True),
    sa.Column("ticket_id", UUID, nullable=False),
    # The idempotency key.
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("request_id", UUID, nullable=False),
    sa.Column("issue", sa.Integer, nullable=False),
    # The new holder; NULL: the holder stays.
    sa.Column("user_id", sa.Text),
    # The new holder's.
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    # The check-in that was first, with REJECTED.
    sa.Column("check_in_time", TIME),
    sa.Column("complete_time", TIME),
    # The time when the sweeper tries next; NULL: the row has ended.
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("status IN ('PENDING', 'DONE', 'REJECTED')", "status"),
    sa.CheckConstraint("(status = 'PENDING') = (complete_time IS NULL)", "complete_time"),
    sa.CheckConstraint("(status = 'PENDING') = (due_time IS NOT NULL)", "due_time"),
    # A ticket has one reissue at a time, because each increments the issue.
    sa.Index(
        "reissues_ticket_uq",
        "event_id",
        "ticket_id",
        unique=True,
        postgresql_where=sa.text("status = 'PENDING'"),
    ),
    sa.Index("reissues_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
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
    # The value is True if the payment came too late, or twice, and must be refunded.
    sa.Column("refund_due", sa.Boolean, nullable=False, server_default=sa.false()),
    # The provider's own id of the refund, once it is made.
    sa.Column("refund_id", sa.Text),
    sa.CheckConstraint("amount >= 0", "amount"),
    sa.CheckConstraint("refund_due OR refund_id IS NULL", "refund"),
    sa.Index(None, "event_id", "purchase_id"),
)

# Orders to refund through a payment provider of this service.
refund_orders = sa.Table(
    "refund_orders",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    # The provider stores it beside the refund. The order of a cancellation has the cancellation's id.
    sa.Column("order_id", UUID, primary_key=True),
    sa.Column("purchase_id", UUID, nullable=False),
    # NULL: the payment came too late, or twice.
    sa.Column("cancellation_id", UUID),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    # The round starts at 1 and grows with each retry after the provider has refused.
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("refund_id", sa.Text),
    # The provider's error when it refused.
    sa.Column("failure", sa.Text),
    sa.Column("create_time", TIME, nullable=False),
    sa.Column("complete_time", TIME),
    # The time when the sweeper tries next; NULL: the row has ended.
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.CheckConstraint("status IN ('PENDING', 'DONE', 'FAILED')", "status"),
    sa.CheckConstraint("(status = 'PENDING') = (due_time IS NOT NULL)", "due_time"),
    sa.CheckConstraint("(status = 'DONE') = (refund_id IS NOT NULL AND complete_time IS NOT NULL)", "done"),
    sa.CheckConstraint("amount > 0", "amount"),
    sa.Index("refund_orders_due_ix", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
)

# Every charge, refund and attempt. Rows are only added: a trigger refuses every update and delete.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("entry_id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("purchase_id", UUID, nullable=False),
    # The refund order or, where the caller's own payment system refunds, the cancellation.
    sa.Column("order_id", UUID),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text),
    sa.Column("refund_id", sa.Text),
    sa.Column("currency", sa.Text, nullable=False),
    # The kind says in which direction the money moved.
    sa.Column("amount", sa.BigInteger, nullable=False),
    # The provider's decline code or error.
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False),
    sa.CheckConstraint(
        "kind IN ('CHARGE_TRIED', 'CHARGED', 'DECLINED', 'WITHDRAWN', 'REFUND_TRIED', 'REFUNDED', 'REFUND_REFUSED')",
        "kind",
    ),
    sa.CheckConstraint("amount >= 0", "amount"),
    sa.Index(None, "event_id", "purchase_id"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
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
    """Return the columns of a notification: ids, but nothing that opens a gate and no address."""
    return [
        sa.Column("event_id", UUID, nullable=False),
        # A writer takes the position while it locks ticket or event, so a later change of a ticket has a higher position.
        sa.Column("position", sa.BigInteger, *position, nullable=False),
        # Receivers deduplicate by this id.
        sa.Column("notification_id", UUID, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        # NULL: it is about the whole event, or about an incident without a sold ticket.
        sa.Column("purchase_id", UUID),
        sa.Column("ticket_id", UUID),
        # The buyer or holder.
        sa.Column("user_id", sa.Text),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
    ]


# Notifications, stored in the transaction that causes them; the relay turns them into deliveries.
outbox = sa.Table("outbox", metadata, *_notification(sa.Identity()), sa.PrimaryKeyConstraint("event_id", "position"))

# Notifications to deliver to one receiver; a delivered row is deleted.
deliveries = sa.Table(
    "deliveries",
    metadata,
    *_notification(),
    sa.Column("receiver", sa.Text, nullable=False),
    # Deliveries of one stream are made in order: only the first one is tried.
    sa.Column("stream", UUID, nullable=False),
    # The time of the next try; NULL: the delivery is a dead letter.
    sa.Column("due_time", TIME),
    sa.Column("attempts", sa.Integer, nullable=False),
    # The time when the delivery became a dead letter; a replay makes it due again.
    sa.Column("dead_time", TIME),
    # The receiver's last error.
    sa.Column("failure", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("event_id", "receiver", "stream", "notification_id"),
    sa.CheckConstraint("(due_time IS NULL) = (dead_time IS NOT NULL)", "dead_time"),
    sa.Index("deliveries_due_ix", "receiver", "due_time", postgresql_where=sa.text("due_time IS NOT NULL")),
    sa.Index("deliveries_dead_ix", "receiver", "dead_time", postgresql_where=sa.text("dead_time IS NOT NULL")),
)

# Incidents that have caused a notification, so that a repeated report causes none. Rows are never deleted: events are not
# either, each has few incidents, and a restored scan service may report an incident again, however old it is.
told_incidents = sa.Table(
    "told_incidents",
    metadata,
    sa.Column("event_id", UUID, primary_key=True),
    sa.Column("incident_id", UUID, primary_key=True),
    sa.Column("create_time", TIME, nullable=False),
)

# The table contains public keys only, so that two hosts cannot assign the same key_id.
signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("key_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("public_key", BYTEA, nullable=False, unique=True),
    sa.Column("activate_time", TIME, nullable=False),
    sa.Column("retire_time", TIME),
    sa.CheckConstraint("key_id >= 1", "key_id"),
)

# One row. The epoch changes when the database is restored from a backup, so that old cursors are invalid.
feed = sa.Table(
    "feed",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("epoch", UUID, nullable=False, server_default=sa.text("gen_random_uuid()")),
    sa.CheckConstraint("one", "one"),
)
