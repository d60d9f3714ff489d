"""The language of a purchase's mails and files."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the column; the constant default takes no rewrite, and the previous version inserts purchases without it."""
    op.add_column("purchases", sa.Column("language", sa.Text(), nullable=False, server_default=""))
