"""Revoke gate devices: `python -m scan_service revoke-devices all` or `... revoke-devices ID ...`.

A restored scans database does not contain the revocations after the backup.
"""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.engine import URL

from scan_service.domain.audit_trail import COMMAND_LINE, ChangeKind, device_change
from scan_service.store.audit_trail import record
from scan_service.store.clock import DatabaseClock
from scan_service.store.devices import revoke_many
from scan_service.store.sessions import session
from ticketing.chassis.command_line import Command

ALL: Final = "all"


def revoke_devices(url: URL, arguments: Sequence[UUID | str], write: Callable[[str], None] = print) -> int:
    """Revoke devices by their ids, or all devices for `all`; return 1 if one of them is unknown, else 0."""
    device_ids = None if ALL in arguments else frozenset(one for one in arguments if isinstance(one, UUID))
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


def read_device(text: str) -> UUID | str:
    """Read the id of a device, or `all`, from the command line."""
    try:
        return text if text == ALL else UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither the id of a device nor `{ALL}`") from None


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("devices", metavar="ID", type=read_device, nargs="+", help=f"the id of a device, or `{ALL}`")


COMMAND: Final = Command(
    "revoke-devices",
    "revoke gate devices; their streams end within a second",
    lambda url, given: revoke_devices(url, given.devices),
    _add_arguments,
)
