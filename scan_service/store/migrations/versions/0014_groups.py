"""Groups that are admitted by one scan: the purchase of GROUP tickets, and the answer to the scan of a group."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the columns, which a process of the version before leaves alone.

    The feed of the new ticket service has another epoch, so it delivers the purchases of all current tickets.
    """
    op.add_column("tickets", sa.Column("purchase_id", UUID))
    op.add_column("scans", sa.Column("group_admission", JSONB))
