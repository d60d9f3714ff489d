"""The text that scanners type: lines of any length, with the line ends that the scanner is configured to send."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from ticketing.admission.scans import MAX_CODE

# The pattern finds a token or a typed code at the end of a line. Scanners put symbology marks or configured words in
# front of it, and caps lock swaps upper and lower case.
_CREDENTIAL: Final = re.compile(r"(?:T1[A-Z2-7]{100,}|TKT-[0-9A-F]{16})$", re.IGNORECASE)
_CHUNK_BYTES: Final = 65_536

ReadBytes = Callable[[int], bytes]


def scanned_lines(read: ReadBytes) -> Iterator[str]:
    """Yield the scanned lines without blank ones, until `read` returns no bytes."""
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
    # A line longer than a code may be is not a code, and its rest would only take memory.
    line += part[: MAX_CODE - len(line)]


def scanned_text(line: bytes) -> str:
    """Return the text of a line without the additions of scanners and keyboards."""
    text = line.decode(errors="replace").strip("\0\t\x02\x03\x04 ")
    match = _CREDENTIAL.search(text)
    return match.group().upper() if match else text
