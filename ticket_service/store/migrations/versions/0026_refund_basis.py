"""The reason for the amount of a cancellation's refund."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the column; processes of the version before leave it empty."""
    op.add_column("cancellations", sa.Column("refund_basis", sa.Text()))
