"""Let relays dispatch the oldest notifications first."""

from ticketing.chassis.migration_steps import build_index

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Build the index of the outbox by position."""
    build_index("outbox_position_ix", "outbox", ["position"])
