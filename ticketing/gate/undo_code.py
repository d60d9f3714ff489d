"""The undo code of a gate: a secret that annuls the last admission, printed for the people who work there."""

import re
import secrets
from pathlib import Path
from typing import Final

from ticketing.admission.layouts import translations

PREFIX: Final = "UNDO"
# All Latin keyboard layouts have these letters at the same places. 16 of them are 66 bits.
_LETTERS: Final = "BCDEFGHJKLNPRSTUVX"
_LENGTH: Final = 16
_MAX_ATTEMPT: Final = 60
_ANY: Final = re.compile(rf"{PREFIX}[A-Z]{{{_LENGTH}}}|GATEUNDO")


class UndoCode:
    """The undo code in a device's folder; a command may replace it while the gate runs, so each read opens the file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "undo-code"

    def read(self) -> str | None:
        """Return the code; None if there is none."""
        try:
            return self._path.read_text().strip() or None
        except (OSError, ValueError):
            return None

    def create(self) -> str:
        """Replace the code by a new one, which only the owner of the folder can read; return it."""
        code = PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        new = self._path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(f"{code}\n")
        new.replace(self._path)
        return code

    def is_in(self, text: str) -> bool:
        """Return whether a scanned text contains the code, with any additions and under any keyboard layout."""
        code = self.read()
        return code is not None and any(code in letters for letters in _letters(text))


def is_undo_attempt(text: str) -> bool:
    """Return whether a text is meant as an undo code, be it the code of this gate or another one.

    A token is longer: one in ten thousand has these letters in this order.
    """
    return len(text) <= _MAX_ATTEMPT and any(_ANY.search(letters) for letters in _letters(text))


def _letters(text: str) -> list[str]:
    return [re.sub(r"[^A-Z]", "", translated.upper()) for translated in translations(text)]
