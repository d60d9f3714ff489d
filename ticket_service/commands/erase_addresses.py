"""Erase mail addresses: `python -m ticket_service erase`, with one address a line on standard input.

An argument would leave the address in shell histories and process lists.
"""

import sys
from collections.abc import Callable, Iterable

from sqlalchemy.engine import URL

from ticket_service.store.contacts import erase
from ticket_service.store.sessions import session


def erase_addresses(url: URL, lines: Iterable[str] | None = None, write: Callable[[str], None] = print) -> int:
    """Erase every listed address; no further mails of their purchases are written."""
    addresses = [line.strip() for line in (sys.stdin if lines is None else lines) if line.strip()]
    with session(url) as connection:
        erased = sum(erase(connection, address) for address in addresses)
    write(f"{erased} addresses erased")
    return 0
