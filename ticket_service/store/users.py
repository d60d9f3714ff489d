"""The rows of users who have few of them, read for several users at once. A reseller has thousands, which are read alone."""

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

# The rows of one user that a read for several users returns; a search ends after the next row.
MAX_OF_USER: Final = 20


def wanted_users(user_ids: Collection[str]) -> sa.TableValuedAlias:
    """Return the users as a table with the column `user_id`, for a lateral join."""
    parameter = sa.bindparam("user_ids", list(user_ids), sa.ARRAY(sa.Text))
    return sa.func.unnest(parameter).table_valued("user_id").render_derived("wanted")
