"""Proving on a live database that the promises hold: `python -m ticket_service audit`.

It reads one snapshot and changes nothing, so it may run beside the service at any time. What a provider of ours lists
is read before, and compared with it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.domain import reconciliation
from ticket_service.domain.purchases import Provider
from ticket_service.domain.reconciliation import Theirs
from ticket_service.store import audit as store
from ticket_service.store.reconciliation import read_ours
from ticketing.chassis.failures import Failure

Tell = Callable[[str], None]

CLEAN: Final = 0
BROKEN: Final = 1


def audit(url: URL, tell: Tell = print, stripe: Callable[[], Theirs] | None = None) -> int:
    """Check everything and tell what was counted.

    Args:
        url: the tickets database.
        tell: is told line by line.
        stripe: reads Stripe's own books, where it is configured.

    Returns:
        The exit status: 1 where a promise is broken, or could not be looked at.
    """
    try:
        # First, so that whatever stands there was begun here.
        theirs = stripe() if stripe is not None else None
    except Failure as failure:
        tell(f"    BROKEN {failure.message}")
        return BROKEN
    with store.snapshot(url) as connection:
        for table in store.COUNTED:
            tell(f"{store.count(connection, table):>10} {table.replace('_', ' ')}")
        results = {check: store.breaches(connection, check) for check in store.CHECKS}
        ours = read_ours(connection, Provider.STRIPE) if theirs is not None else None
    if theirs is not None and ours is not None:
        tell(f"{len(theirs.taken):>10} payments at the provider")
        tell(f"{len(theirs.given_back):>10} refunds at the provider")
        for line in reconciliation.sums(theirs, ours):
            tell(f"{'':>10} {line}")
        results |= {name: list(check(theirs, ours)) for name, check in reconciliation.CHECKS.items()}
    return _tell(results, tell)


def _tell(results: Mapping[str, Sequence[str]], tell: Tell) -> int:
    for check, found in results.items():
        tell(f"{'BROKEN' if found else 'ok':>10} {check}")
        for breach in found[: store.SHOWN]:
            tell(f"{'':>10}   {breach}")
    broken = sum(bool(found) for found in results.values())
    tell(f"{broken} of {len(results)} checks broken" if broken else f"all {len(results)} checks hold")
    return BROKEN if broken else CLEAN
