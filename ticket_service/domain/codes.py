"""Derive typed codes from the ticket, its issue and a secret, so that no dump of a database contains one.

The scan service derives and reads the same codes; a contract test compares the two.
"""

import hashlib
import hmac
import re
import unicodedata
from typing import Final
from uuid import UUID

CODE_PREFIX: Final = "TKT-"
DIGEST_BYTES: Final = 16
# The digits as people read them in print: the letter O is a 0, and I and L are a 1. Blanks and dashes separate groups.
_DIGITS: Final = r"(?:[0-9A-FOIL][ -]*){15}[0-9A-FOIL]"
_TYPED: Final = re.compile(rf" *(?:T[ -]*K[ -]*T[^0-9A-Z]{{0,8}})?({_DIGITS})[ -]*")
_READ_AS: Final = str.maketrans("OIL", "011", " -")


class Codes:
    """The codes of one secret."""

    def __init__(self, secret: str) -> None:
        # Copies of these cost half of what OpenSSL takes to begin with the secret.
        self._code = hmac.new(secret.encode(), b"ticketing code\0", hashlib.sha256)
        self._digest = hmac.new(secret.encode(), b"ticketing code digest\0", hashlib.sha256)

    def code(self, ticket_id: UUID, issue: int) -> str:
        """Return the code of an issue of a ticket: "TKT-" and 16 hex digits."""
        mac = self._code.copy()
        mac.update(ticket_id.bytes + issue.to_bytes(4, "big"))
        return CODE_PREFIX + mac.digest()[:8].hex().upper()

    def digest(self, code: str) -> bytes:
        """Return the digest of a code, which databases store for look-up."""
        mac = self._digest.copy()
        mac.update(code.encode())
        return mac.digest()[:DIGEST_BYTES]


def read_code(text: str) -> str | None:
    """Read a code as people type it; return None where the text is not a code.

    The prefix may be missing, blanks and dashes of any kind may separate digits, and O, I and L may stand for digits.
    """
    folded = unicodedata.normalize("NFKC", text).upper()
    found = _TYPED.fullmatch("".join(map(_plain_character, folded)))
    return None if found is None else CODE_PREFIX + found[1].translate(_READ_AS)


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    return " " if category in {"Cc", "Cf", "Zs", "Zl", "Zp"} else character
