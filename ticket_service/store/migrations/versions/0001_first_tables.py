"""Create the tables of the first release: events, purchases, tickets, cancellations, keys, the feed's epoch.

The columns are written out here and not imported from `tables`, which keeps changing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, TIMESTAMP

revision = "0001"
down_revision = None
# The other service has no table of this name, so it proves whose tables a database contains.
own_table = "purchases"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _create_events()
    _create_offers()
    _create_purchases()
    _create_contacts()
    _create_tickets()
    _create_cancellations()
    _create_payments()
    _create_idempotency_keys()
    _create_signing_keys()
    _create_feed()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("organizer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("end_time", TIME, nullable=False),
        sa.Column("doors_open_time", TIME),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("is_online", sa.Boolean(), nullable=False),
        sa.Column("max_participants", sa.Integer()),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("ticket_price", sa.BigInteger(), nullable=False),
        sa.Column("refund_tiers", JSONB(), nullable=False),
        sa.Column("admission_policy", sa.Text(), nullable=False),
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("changed_revision", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('DRAFT', 'PUBLISHED', 'CANCELLED')", name=op.f("events_status_ck")),
        sa.CheckConstraint("end_time > start_time AND doors_open_time <= start_time", name=op.f("events_times_ck")),
        sa.CheckConstraint("reserved >= 0 AND reserved <= max_participants", name=op.f("events_reserved_ck")),
        sa.CheckConstraint("revision >= changed_revision", name=op.f("events_revision_ck")),
        sa.CheckConstraint("ticket_price BETWEEN 0 AND 1000000000", name=op.f("events_ticket_price_ck")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("events_pk")),
    )
    op.create_index(op.f("events_end_time_ix"), "events", ["end_time"])
    op.create_index(op.f("events_organizer_id_start_time_ix"), "events", ["organizer_id", "start_time"])
    op.create_index(op.f("events_start_time_event_id_ix"), "events", ["start_time", "event_id"])
    op.create_index(op.f("events_status_start_time_ix"), "events", ["status", "start_time"])


def _create_offers() -> None:
    op.create_table(
        "offers",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("ticket_type", sa.Text(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("capacity", sa.Integer()),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("sales_start_time", TIME),
        sa.Column("sales_end_time", TIME),
        sa.Column("min_per_purchase", sa.Integer(), nullable=False),
        sa.Column("max_per_purchase", sa.Integer()),
        sa.Column("valid_from_time", TIME),
        sa.Column("valid_until_time", TIME),
        sa.CheckConstraint(
            "min_per_purchase >= 1 AND max_per_purchase >= min_per_purchase", name=op.f("offers_per_purchase_ck")
        ),
        sa.CheckConstraint("price BETWEEN 0 AND 1000000000", name=op.f("offers_price_ck")),
        sa.CheckConstraint("reserved >= 0 AND reserved <= capacity", name=op.f("offers_reserved_ck")),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"], name=op.f("offers_event_id_fk")),
        sa.PrimaryKeyConstraint("event_id", "ticket_type", name=op.f("offers_pk")),
    )


def _create_purchases() -> None:
    op.create_table(
        "purchases",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("items", JSONB(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text()),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("complete_time", TIME),
        sa.CheckConstraint("(status = 'HELD') = (complete_time IS NULL)", name=op.f("purchases_complete_time_ck")),
        sa.CheckConstraint(
            "status IN ('HELD', 'COMPLETED', 'EXPIRED', 'RELEASED', 'DECLINED', 'REFUNDING', 'REFUNDED')",
            name=op.f("purchases_status_ck"),
        ),
        sa.CheckConstraint("total >= 0", name=op.f("purchases_total_ck")),
        sa.PrimaryKeyConstraint("event_id", "purchase_id", name=op.f("purchases_pk")),
    )
    op.create_index(op.f("purchases_purchase_id_ix"), "purchases", ["purchase_id"])
    op.create_index(op.f("purchases_user_id_purchase_id_ix"), "purchases", ["user_id", "purchase_id"])


def _create_contacts() -> None:
    op.create_table(
        "contacts",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "purchase_id", name=op.f("contacts_pk")),
    )


def _create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("ticket_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("valid_from_time", TIME),
        sa.Column("valid_until_time", TIME),
        sa.Column("check_in_time", TIME),
        sa.Column("check_in_sequence", sa.BigInteger(), nullable=False),
        sa.Column("issue", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("code_digest", BYTEA(), nullable=False),
        sa.Column("token_digest", BYTEA()),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'CANCELLED', 'REFUNDED', 'BLOCKED')", name=op.f("tickets_status_ck")),
        sa.CheckConstraint("issue >= 1", name=op.f("tickets_issue_ck")),
        sa.CheckConstraint("price BETWEEN 0 AND 1000000000", name=op.f("tickets_price_ck")),
        sa.PrimaryKeyConstraint("event_id", "ticket_id", name=op.f("tickets_pk")),
        sa.UniqueConstraint("event_id", "revision", name=op.f("tickets_event_id_revision_uq")),
    )
    op.create_index(op.f("tickets_code_digest_ix"), "tickets", ["code_digest"])
    op.create_index(op.f("tickets_event_id_purchase_id_ix"), "tickets", ["event_id", "purchase_id"])
    op.create_index(op.f("tickets_event_id_status_ix"), "tickets", ["event_id", "status"])
    op.create_index(op.f("tickets_ticket_id_ix"), "tickets", ["ticket_id"])
    op.create_index(op.f("tickets_user_id_status_ix"), "tickets", ["user_id", "status"])


def _create_cancellations() -> None:
    op.create_table(
        "cancellations",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("cancellation_id", sa.UUID(), nullable=False),
        sa.Column("ticket_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("refund_amount", sa.BigInteger(), nullable=False),
        sa.Column("refund_percent", sa.SmallInteger(), nullable=False),
        sa.Column("refund_id", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.Column("check_in_time", TIME),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("complete_time", TIME),
        sa.Column("due_time", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(status IN ('DONE', 'REJECTED')) = (complete_time IS NOT NULL)",
            name=op.f("cancellations_complete_time_ck"),
        ),
        sa.CheckConstraint(
            "status IN ('PENDING', 'REFUNDING', 'DONE', 'REJECTED', 'REFUND_FAILED')",
            name=op.f("cancellations_status_ck"),
        ),
        sa.CheckConstraint("refund_amount BETWEEN 0 AND 1000000000", name=op.f("cancellations_refund_amount_ck")),
        sa.CheckConstraint("refund_percent BETWEEN 0 AND 100", name=op.f("cancellations_refund_percent_ck")),
        sa.PrimaryKeyConstraint("event_id", "cancellation_id", name=op.f("cancellations_pk")),
    )
    op.create_index(op.f("cancellations_cancellation_id_ix"), "cancellations", ["cancellation_id"])
    op.create_index(
        "cancellations_due_ix", "cancellations", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL")
    )
    op.create_index(
        "cancellations_ticket_uq",
        "cancellations",
        ["event_id", "ticket_id"],
        unique=True,
        postgresql_where=sa.text("status <> 'REJECTED'"),
    )


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("purchase_id", sa.UUID(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("payments_amount_ck")),
        sa.PrimaryKeyConstraint("provider", "payment_id", name=op.f("payments_pk")),
    )
    op.create_index(op.f("payments_event_id_purchase_id_ix"), "payments", ["event_id", "purchase_id"])


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("request_id", sa.UUID(), nullable=False),
        sa.Column("fingerprint", BYTEA(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("result_id", sa.UUID(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("caller", "request_id", name=op.f("idempotency_keys_pk")),
    )


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("key_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("public_key", BYTEA(), nullable=False),
        sa.Column("activate_time", TIME, nullable=False),
        sa.Column("retire_time", TIME),
        sa.CheckConstraint("key_id >= 1", name=op.f("signing_keys_key_id_ck")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("signing_keys_pk")),
        sa.UniqueConstraint("public_key", name=op.f("signing_keys_public_key_uq")),
    )


def _create_feed() -> None:
    op.create_table(
        "feed",
        sa.Column("one", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("epoch", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.CheckConstraint("one", name=op.f("feed_one_ck")),
        sa.PrimaryKeyConstraint("one", name=op.f("feed_pk")),
    )
    # The epoch of a new database.
    op.execute("INSERT INTO feed DEFAULT VALUES")
