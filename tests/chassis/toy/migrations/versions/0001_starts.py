"""Count starts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
own_table = "starts"


def upgrade() -> None:
    op.create_table("starts", sa.Column("process", sa.Integer, primary_key=True))
