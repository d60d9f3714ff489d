"""The annulments that uploads claim, apart from those in effect, and the incidents of the refused ones."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column and the kind; annulments that were uploaded before remain in effect."""
    op.add_column("scans", sa.Column("claimed_annul_time", sa.TIMESTAMP(timezone=True)))
    op.drop_constraint(op.f("incidents_kind_ck"), "incidents")
    # The table is small: PostgreSQL checks it in milliseconds.
    op.create_check_constraint(
        op.f("incidents_kind_ck"),
        "incidents",
        "kind IN ('DOUBLE_ADMISSION', 'REVOKED_ADMISSION', 'FORGED_TOKEN', 'UNKNOWN_ADMISSION', 'INVALID_ADMISSION',"
        " 'CODE_GUESSING', 'INVALID_ANNULMENT')",
    )
