"""Normalise text to NFC, and find the characters that no name and no text for people may contain."""

import re
import unicodedata
from typing import Final

# Unicode calls text with at most this many combining characters in a row stream-safe (UAX 15). No writing needs more,
# and the time that normalisation takes grows with the square of the row: 40,000 in a row took 3 s.
MAX_COMBINING: Final = 30

# Controls; embeddings, overrides and isolates, which reorder the text around a name; deprecated format characters;
# annotations; surrogates; and the code points that Unicode never assigns.
_NEVER: Final = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF))
)
_NOT_IN_LINES: Final = re.compile(f"[{_NEVER}]")
_NOT_IN_NAMES: Final = re.compile(f"[{_NEVER}\t\n\r\x85\u2028\u2029]")
_LINE_ENDS: Final = re.compile("\r\n|[\r\x85\u2028\u2029]")
_BLANK: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
# Characters of other categories than separators and format characters that show nothing: fillers and selectors of
# Unicode's Default_Ignorable_Code_Point, and the empty braille pattern.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


def composed(text: str) -> str | None:
    """Return a text in NFC, or None if it has more than MAX_COMBINING combining characters in a row."""
    if text.isascii():
        return text
    row = 0
    for character in text:
        row = row + 1 if unicodedata.combining(character) else 0
        if row > MAX_COMBINING:
            return None
    return unicodedata.normalize("NFC", text)


def with_line_feeds(text: str) -> str:
    """Return a text of several lines whose lines end with line feeds, or "" for one that shows nothing."""
    return _LINE_ENDS.sub("\n", text) if shows_anything(text) else ""


def fault_of_name(text: str) -> str | None:
    """Return why a text is no name, or None; "" is one."""
    if text.isascii() and text.isprintable() and text[:1] != " ":
        # Nearly every name, in a tenth of the time.
        return None
    found = _NOT_IN_NAMES.search(text)
    if found is not None:
        return _holds(found[0])
    return None if not text or shows_anything(text) else "shows nothing: it holds only blank or invisible characters"


def fault_of_lines(text: str, max_lines: int) -> str | None:
    """Return why a text with line feeds is no text for people of at most `max_lines` lines, or None."""
    found = _NOT_IN_LINES.search(text)
    if found is not None:
        return _holds(found[0])
    return f"has more than {max_lines} lines" if text.count("\n") >= max_lines else None


def without_controls(text: str) -> str:
    """Return a text with a blank for each character that no name may contain; joiners of scripts and emoji stay."""
    return _NOT_IN_NAMES.sub(" ", text)


def shows_anything(text: str) -> bool:
    """Return whether a reader sees at least one character of a text."""
    return any(unicodedata.category(one) not in _BLANK and not _INVISIBLE.match(one) for one in text)


def _holds(character: str) -> str:
    return f"holds the character U+{ord(character):04X}, which is a control or has no place in text for people"
