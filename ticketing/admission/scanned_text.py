"""The credentials in a scanned text: what scanners, keyboards and people add is removed."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from ticketing.admission.codes import SHOWN_DIGITS, find_codes, mask_code, read_code
from ticketing.admission.layouts import translations
from ticketing.admission.tokens import TOKEN_PREFIX, DamagedToken, Token, read_token

# A token has no "1" but that of its prefix, so each "T1" begins another token. A token ends before the next one and
# before any character that it cannot contain.
_TOKEN: Final = re.compile(r"(?=(T1[A-Z2-7]{150,}?)(?:T1|[^A-Z2-7]|\Z))", re.IGNORECASE)
# The results of `sanitize_text`, which a list of scans takes as a filter again.
_SANITIZED: Final = re.compile(
    rf"(?:TKT-[0-9A-F]{{{SHOWN_DIGITS}}}|T1[A-Z2-7]{{{SHOWN_DIGITS}}})…|\([0-9]{{1,4}} [a-z ]+\)"
)


def readings(text: str) -> Iterator[Sequence[str]]:
    """Yield the credentials in a scanned text, once for each keyboard layout under which there are any.

    The first reading is that of the text as it is. A reading has the different tokens or, if there is none, the
    different codes, in their order. Only a signature or a look-up proves that a reading is the right one.
    """
    for translated in translations(text):
        if credentials := find_tokens(translated) or find_codes(translated):
            yield credentials


def find_tokens(text: str) -> Sequence[str]:
    """Return the different tokens in a text, in upper case; their signatures are not verified."""
    candidates = (match[1].upper() for match in _TOKEN.finditer(text))
    return list(dict.fromkeys(token for token in candidates if isinstance(read_token(token), Token)))


def sanitize_text(text: str) -> str:
    """Return what a record keeps of a scanned text: the begin of a token or a code, else only the kind of the text.

    The text may be a genuine ticket that this service does not know yet, or be nearly one: with another layout, a
    missing digit, in pieces. No record of a scan may open a gate, so a record keeps no other text.
    """
    if _SANITIZED.fullmatch(text):
        return text
    if (code := read_code(text)) is not None:
        return mask_code(code)
    if isinstance(read_token(text.strip().upper()), Token | DamagedToken):
        return f"{text.strip().upper()[: len(TOKEN_PREFIX) + SHOWN_DIGITS]}…"
    return describe(text)


def describe(text: str) -> str:
    """Describe the kind and the length of a text without its content."""
    if text.isdecimal():
        kind = "digits"
    elif text.isalnum():
        kind = "letters and digits"
    elif "://" in text:
        kind = "characters of an address"
    else:
        kind = "characters"
    return f"({len(text)} {kind})"
