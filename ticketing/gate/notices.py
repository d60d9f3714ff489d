"""Texts for the person at the gate that answer no scan."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Notice:
    """A text for the person at the gate that answers no scan."""

    # A large word; empty: the text alone is shown, line by line.
    word: str
    text: str


MISSING_END: Final = Notice("SCANNER?", "the scanner sends no end: set its suffix to Enter (CR), or press Enter")
