"""Revoke gate devices: `python -m scan_service revoke-devices all` or `... revoke-devices ID ...`.

A restored scans database does not contain the revocations after the backup.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy.engine import URL

from scan_service.domain.audit_trail import COMMAND_LINE, ChangeKind, device_change
from scan_service.store.audit_trail import record
from scan_service.store.clock import DatabaseClock
from scan_service.store.devices import revoke_many
from scan_service.store.sessions import session
from ticketing.chassis.settings import SettingsError

ALL = "all"


def revoke_devices(url: URL, arguments: Sequence[str], write: Callable[[str], None] = print) -> int:
    """Revoke the devices of the ids in `arguments`, or all devices; return the exit status."""
    device_ids = None if list(arguments) == [ALL] else frozenset(map(_read_id, arguments))
    with session(url) as connection:
        now = DatabaseClock().read(connection)
        revoked, found = revoke_many(connection, device_ids, now)
        changes = [device_change(ChangeKind.DEVICE_REVOKED, device) for device in revoked]
        record(connection, COMMAND_LINE, changes, now)
    write(f"{len(revoked)} devices revoked; their streams end within a second")
    unknown = sorted((device_ids or frozenset()) - found)
    for device_id in unknown:
        write(f"unknown: {device_id}")
    return 1 if unknown else 0


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingsError(f"revoke-devices: {text} is neither the id of a device nor `{ALL}`") from None
