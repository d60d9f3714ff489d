"""What scanners type: lines of any length, ended by whatever the scanner was set up to send."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from ticketing.admission.scans import MAX_CODE

# What a token or a typed code looks like at the end of a line; scanners put symbology marks or words of their own in
# front, and a keyboard with caps lock on turns the case around.
_CREDENTIAL: Final = re.compile(r"(?:T1[A-Z2-7]{100,}|TKT-[0-9A-F]{16})$", re.IGNORECASE)
_CHUNK_BYTES: Final = 65_536

Read = Callable[[int], bytes]


def lines(read: Read) -> Iterator[str]:
    """Yield what was scanned, line by line, until the end; blank lines are none.

    Args:
        read: returns at most so many bytes as soon as there are any, none at the end.
    """
    line = bytearray()
    while chunk := read(_CHUNK_BYTES):
        first, *rest = chunk.replace(b"\r", b"\n").split(b"\n")
        _append(line, first)
        for part in rest:
            if text := scanned_text(bytes(line)):
                yield text
            line.clear()
            _append(line, part)
    if text := scanned_text(bytes(line)):
        yield text


def _append(line: bytearray, part: bytes) -> None:
    # Whatever is longer than a code may be is none, and not worth the memory.
    line += part[: MAX_CODE - len(line)]


def scanned_text(line: bytes) -> str:
    """Return what a line says, without what scanners and keyboards add to it."""
    text = line.decode(errors="replace").strip("\0\t\x02\x03\x04 ")
    found = _CREDENTIAL.search(text)
    return found.group().upper() if found else text
