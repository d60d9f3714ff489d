"""Steps of migrations that run outside of a transaction, beside processes which serve.

They commit before the revision of their migration does, so they may run again after a crash and then change nothing. A
migration with such steps has no others.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from alembic import op

from ticketing.chassis.migrations import LIMITS

log = logging.getLogger(__name__)

# A step may wait for all older transactions, such as a backup; meanwhile it has no lock that others notice.
BUILD_WAIT: Final = "1h"

# The name of an index, and whether its build was completed; a build that was killed leaves an invalid index.
_STATE: Final = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def build_index(
    name: str, table: str, columns: Sequence[str | sa.TextClause], *, unique: bool = False, where: str | None = None
) -> None:
    """Build an index concurrently, unless it exists; an index that a killed build left invalid is built anew.

    `columns` are names, or expressions as `sa.text`; `where` is the condition of a partial index.
    """
    with _without_transaction():
        if not op.get_context().as_sql:
            is_valid = op.get_bind().execute(_STATE, {"name": name}).scalar_one_or_none()
            if is_valid:
                return
            if is_valid is not None:
                op.drop_index(name, table, postgresql_concurrently=True)
            log.info("an index is being built", extra={"index": name, "table": table})
        op.create_index(
            name,
            table,
            columns,
            unique=unique,
            postgresql_concurrently=True,
            postgresql_where=None if where is None else sa.text(where),
            if_not_exists=True,
        )


def validate_check(name: str, table: str) -> None:
    """Check the existing rows against a constraint that an earlier migration added as NOT VALID."""
    with _without_transaction():
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


@contextmanager
def _without_transaction() -> Iterator[None]:
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{BUILD_WAIT}'")
        yield
        op.execute(f"SET lock_timeout = {LIMITS['lock_timeout']}")
