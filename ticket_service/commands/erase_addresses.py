"""Erase mail addresses: `python -m ticket_service erase`, with one address a line on standard input.

The command takes no address as an argument, because shell histories and process lists would contain it.
"""

import sys
from collections.abc import Callable, Iterable

from sqlalchemy.engine import URL

from ticket_service.convert.addresses import normalised
from ticket_service.store.contacts import erase
from ticket_service.store.sessions import session


def erase_addresses(url: URL, lines: Iterable[str] | None = None, write: Callable[[str], None] = print) -> int:
    """Erase every listed address; the relay then sends no mail to it."""
    addresses = [line.strip() for line in (sys.stdin if lines is None else lines) if line.strip()]
    with session(url) as connection:
        # An address is stored in its normalised form, or as an older version received it.
        forms = {form for address in addresses for form in (address, normalised(address)) if form}
        erased = sum(erase(connection, form) for form in sorted(forms))
    write(f"{erased} addresses erased")
    return 0
