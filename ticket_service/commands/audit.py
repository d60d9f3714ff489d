"""Check the invariants on a live database: `python -m ticket_service audit`.

The audit reads one snapshot and changes nothing, so it may run beside the service at any time. It also lists the
payments and refunds of each configured provider, and compares them with the database.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.domain import reconciliation
from ticket_service.domain.reconciliation import ProviderRecords
from ticket_service.settings import read_settings
from ticket_service.store import audit as store
from ticket_service.store.reconciliation import read_own_records
from ticketing.chassis.command_line import Command
from ticketing.chassis.failures import Failure
from ticketing.chassis.settings import Environment

Write = Callable[[str], None]
# A function for each provider, by its name.
Records = Mapping[str, Callable[[], ProviderRecords]]

CLEAN: Final = 0
BROKEN: Final = 1


def run_audit(url: URL) -> int:
    """Run all checks, with the records of the configured providers; return the exit status."""
    providers = read_settings(Environment(os.environ)).providers
    return audit(url, print, {name: settings.read_records for name, settings in providers.items()})


def audit(url: URL, write: Write = print, records: Records = MappingProxyType({})) -> int:
    """Write the counts and the breaches; return 1 if a check found a breach or a provider did not answer, else 0."""
    return BROKEN if broken_checks(url, write, records) else CLEAN


def broken_checks(url: URL, write: Write, records: Records) -> list[str]:
    """Write the counts and the breaches; return the checks that found a breach, or that a provider did not answer."""
    try:
        # The provider's records are read first: the snapshot then contains every purchase and order behind them.
        listed = {name: read() for name, read in records.items()}
    except Failure as failure:
        write(f"    BROKEN {failure.message}")
        return [failure.message]
    with store.snapshot(url) as connection:
        for table in store.COUNTED:
            write(f"{store.count(connection, table):>10} {table.replace('_', ' ')}")
        results: dict[str, Sequence[str]] = {check: store.breaches(connection, check) for check in store.CHECKS}
        hints = {hint: store.breaches(connection, hint) for hint in store.HINTS}
        compared = [(listed[name], read_own_records(connection, name)) for name in listed]
    for provider, own in compared:
        write(f"{len(provider.charges):>10} payments at the provider")
        write(f"{len(provider.refunds):>10} refunds at the provider")
        for line in reconciliation.sums(provider, own):
            write(f"{'':>10} {line}")
    if compared:
        results |= {
            name: [breach for provider, own in compared for breach in check(provider, own)]
            for name, check in reconciliation.CHECKS.items()
        }
    for check, found in results.items():
        _write(write, "BROKEN" if found else "ok", check, found)
    for hint, rows in hints.items():
        if rows:
            _write(write, "look at", hint, rows)
    broken = [check for check, found in results.items() if found]
    write(f"{len(broken)} of {len(results)} checks broken" if broken else f"all {len(results)} checks hold")
    return broken


def _write(write: Write, result: str, check: str, found: Sequence[str]) -> None:
    write(f"{result:>10} {check}")
    for line in found[: store.SHOWN]:
        write(f"{'':>10}   {line}")


COMMAND: Final = Command(
    "audit",
    "check that the database and the payment providers agree with the promises",
    lambda url, _: run_audit(url),
)
