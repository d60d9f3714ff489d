"""Write plain text as `format=flowed; delsp=yes` (RFC 3676): short lines that a mail program joins again.

A space at the end of a line that continues is removed when the lines are joined, so that texts without spaces, such as
Japanese, break anywhere. A program that does not know the format shows lines of at most 72 columns.
"""

import re
import unicodedata
from typing import Final

WIDTH: Final = 72
_WORDS: Final = re.compile(r"\S*\s*")


def flowed(text: str) -> str:
    """Break the lines of a text."""
    return "\n".join(part for line in text.split("\n") for part in _break(line.rstrip()))


def columns(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    return sum(map(_width, text))


def _break(line: str) -> list[str]:
    lines, current = [], ""
    for word in _WORDS.findall(line):
        if current and columns(current + word.rstrip()) > WIDTH:
            lines.append(current)
            current = ""
        for piece in _pieces(word):
            if current and columns(current + piece.rstrip()) > WIDTH:
                lines.append(current)
                current = ""
            current += piece
    lines.append(current)
    return [_stuffed(part) + " " for part in lines[:-1]] + [_stuffed(lines[-1])]


def _pieces(word: str) -> list[str]:
    """Return the parts between which a word may break: none, or before each wide character that begins no mark."""
    pieces = [""]
    for character in word:
        is_mark = unicodedata.category(character)[0] in "MPC" or not pieces[-1]
        if _width(character) > 1 and not is_mark:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _stuffed(line: str) -> str:
    """Return a line with the space that protects a beginning which means something else in a mail."""
    return f" {line}" if line.startswith((" ", ">", "From ")) else line


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
