"""Record that a check-in was annulled while the cancellation of its ticket waited for the scan service."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column with a constant default, which a process of the version before leaves alone."""
    op.add_column(
        "cancellations", sa.Column("check_in_annulled", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
