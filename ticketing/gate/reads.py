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
# A person sometimes presses two or three keys at once; a burst of this length behind other characters is a scanner's.
LATER_BURST: Final = 6
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
    """Ctrl-C, once or more often, between two silences."""


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
        self._first = 0.0
        self._last = -SILENCE_SECONDS
        self._size = 0
        # The begin and the length of what came since the last silence within the line.
        self._run_first = 0.0
        self._run_size = 0
        # Whether a silence came before the line.
        self._is_after_silence = True
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
        if rest and not self._is_interrupt():
            yield Typing(line_text(bytes(self._bytes)))

    def end(self) -> Iterator[InputEvent]:
        """End the line; a line without a visible character is none."""
        text = line_text(bytes(self._bytes))
        by_hand = not self._is_scanned()
        self._clear()
        if is_visible(text):
            yield Read(text, by_hand)

    def end_by_silence(self) -> Iterator[InputEvent]:
        """End the line if a scanner sent a credential, or report that nothing ended it."""
        self._silences += 1
        if self._is_interrupt():
            # Some scanners send 0x03 behind the end of each read.
            is_key = self._is_after_silence
            self._clear()
            if is_key:
                yield Interrupt()
            return
        if not self._is_scanned():
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
        is_after_silence = now - self._last >= SILENCE_SECONDS
        if not self._bytes:
            self._first, self._is_after_silence = now, is_after_silence
        if not self._bytes or is_after_silence:
            self._run_first, self._run_size = now, 0
        self._last = now
        self._size += len(part)
        self._run_size += len(part)
        self._silences = 0
        # A line longer than a code may be is not a code, and its rest would only take memory.
        self._bytes += part[: MAX_CODE - len(self._bytes)]

    def _clear(self) -> None:
        self._bytes.clear()
        self._size = 0

    def _is_interrupt(self) -> bool:
        return bool(self._bytes) and not self._bytes.strip(_INTERRUPT)

    def _is_scanned(self) -> bool:
        """Return whether a scanner typed the line or its end: a person may have touched a key before."""
        return (
            _is_burst(self._size, self._last - self._first)
            or (self._run_size >= LATER_BURST and _is_burst(self._run_size, self._last - self._run_first))
            or self._size >= TOKEN_LENGTH
        )


def _is_burst(size: int, seconds: float) -> bool:
    return size > 1 and seconds < BURST_SECONDS * (size - 1)


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
