"""Typed codes, derived from a ticket, its issue and a secret, so that a database dump contains no code.

The ticket service derives the same codes from the same secret; a contract test compares the two implementations.
"""

import hashlib
import hmac
import re
from typing import Final
from uuid import UUID

CODE_PREFIX: Final = "TKT-"
DIGEST_BYTES: Final = 16
# The shown digits of a masked code suffice to find the code; the hidden ones have 40 bits, too many to guess.
SHOWN_DIGITS: Final = 6
_FORM: Final = re.compile(r"TKT-[0-9A-F]{16}")
# A masked token keeps at most a third of its signature.
SHOWN_OF_A_TOKEN: Final = 40
_ANYWHERE: Final = re.compile(rf"{_FORM.pattern}|T1[A-Z2-7]{{{SHOWN_OF_A_TOKEN},}}", re.IGNORECASE)


class Codes:
    """A derivation of codes under one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def code(self, ticket_id: UUID, issue: int) -> str:
        """Return the code of an issue of a ticket: "TKT-" and 16 hex digits."""
        message = b"ticketing code\0" + ticket_id.bytes + issue.to_bytes(4, "big")
        return CODE_PREFIX + hmac.digest(self._secret, message, hashlib.sha256)[:8].hex().upper()

    def digest(self, code: str) -> bytes:
        """Return the digest under which databases store and look up a code."""
        return hmac.digest(self._secret, b"ticketing code digest\0" + code.encode(), hashlib.sha256)[:DIGEST_BYTES]


def read_code(text: str) -> str | None:
    """Read a typed code, in either case and with blanks around it; return None where the text is not a code."""
    code = text.strip().upper()
    return code if _FORM.fullmatch(code) else None


def mask_codes(text: str) -> str:
    """Mask most characters of every code and every token in a text."""
    return _ANYWHERE.sub(_mask, text)


def _mask(match: re.Match[str]) -> str:
    text = match[0].upper()
    shown = len(CODE_PREFIX) + SHOWN_DIGITS if text.startswith(CODE_PREFIX) else SHOWN_OF_A_TOKEN
    return text[:shown] + "…"
