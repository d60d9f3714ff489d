"""Retire signing keys for good: `python -m scan_service retire-keys ID ...`.

The scan service learns retirements from the ticket service. This command is for a key that a restored tickets database
does not contain any more.
"""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy.engine import URL

from scan_service.domain.audit_trail import COMMAND_LINE, Change, ChangeKind
from scan_service.store.audit_trail import record
from scan_service.store.clock import DatabaseClock
from scan_service.store.keys import retire_keys
from scan_service.store.sessions import session
from ticketing.chassis.command_line import Command


def retire_named_keys(url: URL, key_ids: Sequence[int], write: Callable[[str], None] = print) -> int:
    """Retire keys by their ids; return 1 if one of them is unknown, else 0."""
    with session(url) as connection:
        now = DatabaseClock().read(connection)
        found = retire_keys(connection, frozenset(key_ids), now)
        changes = [Change(ChangeKind.KEY_RETIRED, details={"key_id": key_id}) for key_id in sorted(found)]
        record(connection, COMMAND_LINE, changes, now)
    if found:
        write(f"retired: {', '.join(map(str, sorted(found)))}; gates deny their tokens within a minute")
    if unknown := sorted(frozenset(key_ids) - found):
        write(f"unknown: {', '.join(map(str, unknown))}")
    return 1 if unknown else 0


def read_key_id(text: str) -> int:
    """Read the id of a key from the command line."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is not the id of a key")
    return int(text)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key_ids", metavar="ID", type=read_key_id, nargs="+", help="the id of a signing key")


COMMAND: Final = Command(
    "retire-keys",
    "deny the tokens of signing keys for good",
    lambda url, given: retire_named_keys(url, given.key_ids),
    _add_arguments,
)
