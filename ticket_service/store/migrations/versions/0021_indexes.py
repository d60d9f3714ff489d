"""Build the indexes that earlier migrations need on existing tables, and validate their checks, beside running sales."""

import sqlalchemy as sa

from ticketing.chassis.migration_steps import build_index, validate_check

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Build the indexes of look-ups, bounds and owed refunds, and validate the checks that were added without a scan."""
    build_index("purchases_held_ix", "purchases", ["user_id", "event_id"], where="due_time IS NOT NULL")
    build_index("contacts_address_ix", "contacts", [sa.text("lower(email)"), "event_id"])
    build_index(
        "purchases_payment_ix", "purchases", ["payment_id"], where="status <> 'COMPLETED' AND payment_id IS NOT NULL"
    )
    build_index(
        "purchases_ended_ix", "purchases", ["status", "purchase_id"], where="status NOT IN ('HELD', 'COMPLETED')"
    )
    build_index("reissues_address_ix", "reissues", [sa.text("lower(email)")], where="email <> ''")
    build_index("refund_orders_event_id_purchase_id_ix", "refund_orders", ["event_id", "purchase_id"])
    build_index(
        "cancellations_owed_ix",
        "cancellations",
        ["event_id", "create_time"],
        where="status IN ('REFUNDING', 'REFUND_FAILED')",
    )
    build_index("payments_owed_ix", "payments", ["event_id", "create_time"], where="refund_due AND refund_id IS NULL")
    validate_check("ledger_kind_ck", "ledger")
    validate_check("refund_orders_credited_ck", "refund_orders")
