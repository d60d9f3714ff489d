"""Retire signing keys for good: `python -m scan_service retire-keys ID ...`.

The scan service learns retirements from the ticket service. This command is for a key that a restored tickets database
does not contain any more.
"""

from collections.abc import Callable, Sequence

from sqlalchemy.engine import URL

from scan_service.domain.audit_trail import COMMAND_LINE, Change, ChangeKind
from scan_service.store.audit_trail import record
from scan_service.store.clock import DatabaseClock
from scan_service.store.keys import retire_keys
from scan_service.store.sessions import session
from ticketing.chassis.settings import SettingsError


def retire_named_keys(url: URL, arguments: Sequence[str], write: Callable[[str], None] = print) -> int:
    """Retire the keys of the ids in `arguments`; return the exit status."""
    for text in arguments:
        if not (text.isascii() and text.isdecimal()):
            raise SettingsError(f"retire-keys: {text} is not the id of a key")
    key_ids = frozenset(int(text) for text in arguments)
    with session(url) as connection:
        now = DatabaseClock().read(connection)
        found = retire_keys(connection, key_ids, now)
        changes = [Change(ChangeKind.KEY_RETIRED, details={"key_id": key_id}) for key_id in sorted(found)]
        record(connection, COMMAND_LINE, changes, now)
    if found:
        write(f"retired: {', '.join(map(str, sorted(found)))}; gates deny their tokens within a minute")
    if unknown := sorted(key_ids - found):
        write(f"unknown: {', '.join(map(str, unknown))}")
    return 1 if unknown else 0
