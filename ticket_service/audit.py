"""Proving on a live database that the promises hold: `python -m ticket_service audit`.

It reads one snapshot and changes nothing, so it may run beside the service at any time.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import URL, Connection

from ticket_service.store import audit as store

CLEAN: Final = 0
BROKEN: Final = 1


def audit(url: URL, tell: Callable[[str], None] = print) -> int:
    """Check everything and tell what was counted.

    Returns:
        The exit status: 1 where a promise is broken.
    """
    with store.snapshot(url) as connection:
        return _audit(connection, tell)


def _audit(connection: Connection, tell: Callable[[str], None]) -> int:
    for table in store.COUNTED:
        tell(f"{store.count(connection, table):>10} {table.replace('_', ' ')}")
    broken = 0
    for check in store.CHECKS:
        found = store.breaches(connection, check)
        broken += bool(found)
        tell(f"{'BROKEN' if found else 'ok':>10} {check}")
        for breach in found:
            tell(f"{'':>10}   {breach}")
    tell(f"{broken} of {len(store.CHECKS)} checks broken" if broken else f"all {len(store.CHECKS)} checks hold")
    return BROKEN if broken else CLEAN
