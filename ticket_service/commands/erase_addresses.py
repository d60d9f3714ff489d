"""Forgetting where people are mailed: `python -m ticket_service erase`, with one address a line on standard input.

Not as an argument, where histories and lists of processes would keep it.
"""

import sys
from collections.abc import Callable, Iterable

from sqlalchemy.engine import URL

from ticket_service.store.contacts import erase
from ticket_service.store.sessions import session


def erase_addresses(url: URL, lines: Iterable[str] | None = None, tell: Callable[[str], None] = print) -> int:
    """Forget every address that is named; mails of those purchases are no longer written."""
    wanted = [line.strip() for line in (sys.stdin if lines is None else lines) if line.strip()]
    with session(url) as connection:
        forgotten = sum(erase(connection, email) for email in wanted)
    tell(f"{forgotten} addresses forgotten")
    return 0
