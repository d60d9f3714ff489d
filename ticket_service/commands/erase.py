"""Erase users and e-mail addresses: `python -m ticket_service erase [--user ID ... | --address A ...]`.

Without arguments the command reads addresses from standard input, one a line: shell histories and process lists contain
arguments. An interrupted command leaves the rest to the running service, or to the same command again.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.domain.erasures import Erasure, ErasureStatus, SubjectKind
from ticket_service.use_cases.erasures import Erasures
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.texts import composed

Write = Callable[[str], None]

KINDS: Final = {"--user": SubjectKind.USER, "--address": SubjectKind.ADDRESS}
# The audit trail names a command instead of a caller.
COMMAND: Final = Caller("command line", frozenset())


def erase_addresses(url: URL, lines: Iterable[str] | None = None, write: Write = print) -> int:
    """Erase every listed address; the relay then sends no mail to it."""
    addresses = [line.strip() for line in (sys.stdin if lines is None else lines)]
    return _erase(url, SubjectKind.ADDRESS, [address for address in addresses if address], write)


def erase_named(url: URL, words: Sequence[str], write: Write = print) -> int:
    """Erase the users or addresses that the arguments name; return 2 for wrong arguments."""
    kind, subjects = KINDS.get(words[0]), words[1:]
    if kind is None or not subjects or not all(subjects):
        write("erase takes --user ID ... or --address A ..., or addresses on standard input")
        return 2
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
            write(_line(await Erasures(database, None, system_clock).erase_stored(COMMAND, kind, subject)))
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
