"""Typed codes, derived from a ticket, its issue and a secret, so that a database dump contains no code.

The ticket service derives and reads the same codes; a contract test compares the two implementations.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Sequence
from typing import Final
from uuid import UUID

CODE_PREFIX: Final = "TKT-"
DIGEST_BYTES: Final = 16
# The shown digits of a masked code suffice to find the code; the hidden ones have 40 bits, too many to guess.
SHOWN_DIGITS: Final = 6
_FORM: Final = re.compile(r"TKT-[0-9A-F]{16}")
# The digits as people read them in print: the letter O is a 0, and I and L are a 1. Blanks and dashes separate groups.
_DIGITS: Final = r"(?:[0-9A-FOIL][ -]*){15}[0-9A-FOIL]"
# A layout of another country may type another sign for the dash after the prefix.
_PREFIXED: Final = re.compile(rf"T[ -]*K[ -]*T[^0-9A-Z]{{0,8}}({_DIGITS})(?=TKT|[^0-9A-Z]|\Z)")
# Without the prefix, the digits are a code only if no other letters or digits belong to them.
_BARE: Final = re.compile(rf"(?<![0-9A-Z])(?<![0-9A-Z][ -])({_DIGITS})(?![ -]*[0-9A-Z])")
# A scanner puts this mark in front of what it reads (ISO/IEC 15424).
_SYMBOLOGY: Final = re.compile(r"\][A-Z][0-9A-Z]")
# Nobody types a code with more text around it; the bound limits the time of a search.
_MAX_SEARCHED: Final = 512
_READ_AS: Final = str.maketrans("OIL", "011", " -")


class Codes:
    """A derivation of codes under one secret."""

    def __init__(self, secret: str) -> None:
        # A copy of a keyed HMAC takes half the time of `hmac.digest`, which reads the key anew.
        self._keyed = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    def code(self, ticket_id: UUID, issue: int) -> str:
        """Return the code of an issue of a ticket: "TKT-" and 16 hex digits."""
        message = b"ticketing code\0" + ticket_id.bytes + issue.to_bytes(4, "big")
        return CODE_PREFIX + self._mac(message)[:8].hex().upper()

    def digest(self, code: str) -> bytes:
        """Return the digest under which databases store and look up a code."""
        return self._mac(b"ticketing code digest\0" + code.encode())[:DIGEST_BYTES]

    def pass_mac(self, claim: bytes) -> bytes:
        """Return the code that authenticates a look-up pass."""
        return self._mac(b"ticketing look-up pass\0" + claim)[:DIGEST_BYTES]

    def _mac(self, message: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(message)
        return keyed.digest()


def read_code(text: str) -> str | None:
    """Read the typed code in a text, as `find_codes` finds it; return None where the text contains none."""
    code = text.strip().upper()
    if _FORM.fullmatch(code):
        return code
    return next(iter(find_codes(text)), None)


def find_codes(text: str) -> Sequence[str]:
    """Return the different codes in a text, in the form of `Codes.code`.

    A code may lack its prefix, have blanks or dashes of any kind between its digits, and have an O, I or L for a digit.
    Other text may surround it: an address, symbology marks, control characters.
    """
    plain = _SYMBOLOGY.sub(" ", _plain(text[:_MAX_SEARCHED]))
    found = _PREFIXED.findall(plain) or _BARE.findall(plain)
    return list(dict.fromkeys(CODE_PREFIX + digits.translate(_READ_AS) for digits in found))


def _plain(text: str) -> str:
    """Return a text in upper case with one kind of blank and one kind of dash."""
    folded = unicodedata.normalize("NFKC", text).upper()
    return folded if folded.isascii() and folded.isprintable() else "".join(map(_plain_character, folded))


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    # Zero-width and control characters separate as a blank does.
    return " " if category in {"Cc", "Cf", "Zs", "Zl", "Zp"} else character


def mask_code(code: str) -> str:
    """Mask most digits of a code; any other text stays as it is."""
    return f"{code[: len(CODE_PREFIX) + SHOWN_DIGITS]}…" if _FORM.fullmatch(code) else code
