"""Build the index of groups beside running gates."""

from ticketing.chassis.migration_steps import build_index

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Build the index, which contains the tickets that have a purchase."""
    build_index("tickets_group_ix", "tickets", ["event_id", "purchase_id"], where="purchase_id IS NOT NULL")
