"""The reads of a scanner and of a person at the keyboard: bytes become lines, whatever ends them.

A scanner types a line within milliseconds, a person takes longer for two characters. So a silence after a burst with a
credential ends a read that lacks its line end, and does not interrupt a person who types.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeAlias

from ticketing.admission.scanned_text import readings
from ticketing.admission.scans import MAX_CODE

# A silence that ends a burst with a credential. Bluetooth scanners pause for less.
SILENCE_SECONDS: Final = 0.2
# A silence after which a burst without a credential and without an end is answered.
LONG_SILENCE_SECONDS: Final = 1.0
# The average time between two characters of a burst is below this; people type more slowly.
BURST_SECONDS: Final = 0.03
# A burst of this length is the read of a damaged token, and a line of this length is not typed by a person.
TOKEN_LENGTH: Final = 100

# CR, LF, Tab and EOT, which scanners are configured to send after each read.
_END: Final = re.compile(rb"[\r\n\t\x04]")
# The keys that a terminal sends as several bytes: arrows, function keys, and the marks around a pasted text.
_KEYS: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-DFH~]|O[A-DFHP-S])")
_ERASING: Final = re.compile("[\x08\x7f]")
_INTERRUPT: Final = b"\x03"


@dataclass(frozen=True, slots=True)
class Read:
    """A line that a scanner or a person has ended."""

    text: str
    # A person typed it, character by character.
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class Typing:
    """The line so far, to be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class MissingEnd:
    """A burst without a credential that nothing ended."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ctrl-C, alone between two silences."""


InputEvent: TypeAlias = Read | Typing | MissingEnd | Interrupt
# Reads what there is: None after so many seconds without any (None: no bound), no bytes at the end.
ReadBytes: TypeAlias = Callable[[float | None], bytes | None]


def input_events(read: ReadBytes, now: Callable[[], float] = monotonic) -> Iterator[InputEvent]:
    """Yield what arrives until the end of the input; `now` is a clock of monotonic seconds."""
    line = _Line()
    while (chunk := read(line.patience())) != b"":
        if chunk is None:
            yield from line.end_by_silence()
        else:
            yield from line.add(chunk, now())
    yield from line.end()


class _Line:
    """The line that is being read."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._first = self._last = 0.0
        self._size = 0
        # The silences that have passed since the last character.
        self._silences = 0

    def patience(self) -> float | None:
        """Return the seconds to wait for further bytes; None: without a bound."""
        if not self._bytes:
            return None
        return (SILENCE_SECONDS, LONG_SILENCE_SECONDS - SILENCE_SECONDS, None)[self._silences]

    def add(self, chunk: bytes, now: float) -> Iterator[InputEvent]:
        """Add bytes; yield the lines that they end, and the line that they begin or continue."""
        *ended, rest = _END.split(chunk)
        for part in ended:
            self._append(part, now)
            yield from self.end()
        self._append(rest, now)
        if rest and self._bytes != _INTERRUPT:
            yield Typing(line_text(bytes(self._bytes)))

    def end(self) -> Iterator[InputEvent]:
        """End the line; a line without a visible character is none."""
        text = line_text(bytes(self._bytes))
        by_hand = not self._is_burst()
        self._bytes.clear()
        self._size = 0
        if is_visible(text):
            yield Read(text, by_hand)

    def end_by_silence(self) -> Iterator[InputEvent]:
        """End the line if it was a burst with a credential, or report that nothing ended it."""
        self._silences += 1
        if self._bytes == _INTERRUPT:
            self._bytes.clear()
            self._size = 0
            yield Interrupt()
            return
        if not self._is_burst():
            return
        text = line_text(bytes(self._bytes))
        is_long = self._silences > 1
        if next(readings(text), None) is not None or (is_long and len(text) >= TOKEN_LENGTH):
            yield from self.end()
        elif is_long:
            yield MissingEnd()

    def _append(self, part: bytes, now: float) -> None:
        if not part:
            return
        if not self._bytes:
            self._first = now
        self._last = now
        self._size += len(part)
        self._silences = 0
        # A line longer than a code may be is not a code, and its rest would only take memory.
        self._bytes += part[: MAX_CODE - len(self._bytes)]

    def _is_burst(self) -> bool:
        return self._size > 1 and self._last - self._first < BURST_SECONDS * (self._size - 1)


def line_text(line: bytes) -> str:
    """Return the text of a line without special keys, and without the characters that Backspace erased."""
    text = _KEYS.sub("", line.decode(errors="replace"))
    if len(text) > TOKEN_LENGTH:
        return text.strip()
    kept = list[str]()
    for character in text:
        if not _ERASING.match(character):
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept).strip()


def is_visible(text: str) -> bool:
    """Return whether a text has a character that is neither blank nor a control character."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)
