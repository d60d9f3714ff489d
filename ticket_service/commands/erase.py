"""Erase users and e-mail addresses: `python -m ticket_service erase [--user ID ... | --address A ...]`.

Without arguments the command reads addresses from standard input, one a line: shell histories and process lists contain
arguments. An interrupted command leaves the rest to the running service, or to the same command again.
"""

import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.domain.erasures import Erasure, ErasureStatus, SubjectKind
from ticket_service.use_cases.erasures import Erasures
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import system_clock
from ticketing.chassis.command_line import Command
from ticketing.chassis.database import Database
from ticketing.chassis.texts import composed

Write = Callable[[str], None]

# The audit trail names a command instead of a caller.
COMMAND_LINE: Final = Caller("command line", frozenset())


def erase_addresses(url: URL, lines: Iterable[str] | None = None, write: Write = print) -> int:
    """Erase every listed address; the relay then sends no mail to it."""
    addresses = [line.strip() for line in (sys.stdin if lines is None else lines)]
    return _erase(url, SubjectKind.ADDRESS, [address for address in addresses if address], write)


def erase_named(url: URL, kind: SubjectKind, subjects: Sequence[str], write: Write = print) -> int:
    """Erase the named users or addresses."""
    return _erase(url, kind, subjects, write)


def _erase(url: URL, kind: SubjectKind, subjects: Sequence[str], write: Write) -> int:
    asyncio.run(_erase_all(url, kind, subjects, write))
    return 0


async def _erase_all(url: URL, kind: SubjectKind, subjects: Sequence[str], write: Write) -> None:
    database = Database(url, "ticket_service command", threads=1)
    try:
        for named in subjects:
            # Stored texts are in NFC.
            subject = composed(named) or named
            write(_line(await Erasures(database, None, system_clock).erase_stored(COMMAND_LINE, kind, subject)))
    finally:
        await database.close()


def _line(erasure: Erasure) -> str:
    """Describe an erasure without its subject."""
    counts = [
        f"{erasure.purchases} purchases",
        f"{erasure.tickets} tickets",
        f"{erasure.contacts} addresses and transfers",
        f"{erasure.notifications} notifications",
        f"{erasure.requests} requests",
    ]
    line = f"{erasure.erasure_id}: erased from {', '.join(counts)}"
    if erasure.kept_events:
        line += f"; {erasure.kept_events} events keep their organizer"
    if erasure.status is ErasureStatus.ERASING_SCANS:
        line += "; the running service asks the scan service"
    return line


def _run(url: URL, given: Namespace) -> int:
    if given.users:
        return erase_named(url, SubjectKind.USER, given.users)
    if given.addresses:
        return erase_named(url, SubjectKind.ADDRESS, given.addresses)
    return erase_addresses(url)


def _read_subject(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("is empty")
    return text


def _add_arguments(parser: ArgumentParser) -> None:
    subjects = parser.add_mutually_exclusive_group()
    subjects.add_argument(
        "--user", dest="users", metavar="ID", type=_read_subject, nargs="+", help="erase users by their ids"
    )
    subjects.add_argument(
        "--address", dest="addresses", metavar="ADDRESS", type=_read_subject, nargs="+", help="erase mail addresses"
    )


COMMAND: Final = Command(
    "erase",
    "erase users, or mail addresses, by default those on standard input",
    _run,
    _add_arguments,
)
