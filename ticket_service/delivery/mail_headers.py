"""Write the headers of mails that contain text: encoded words (RFC 2047) and mailboxes (RFC 5322).

The library's own folding splits a text into encoded words of up to 77 octets, where 75 are allowed, and loses the space
between an encoded word and a plain one. Here a header is either plain or encoded as a whole.
"""

import base64
import re
import textwrap
from email.policy import EmailPolicy
from typing import Any, Final

MAX_WORD: Final = 75
MAX_LINE: Final = 76
_FRAME: Final = "=?utf-8?b?{}?="
_FRAME_LENGTH: Final = len(_FRAME.format(""))
# An older version stored names with control characters. No header may contain one, and a line feed would begin another
# header.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
# RFC 5322: the characters of a display name that needs no quotes.
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")


class SentHeader(str):
    """A header's value as it is sent: encoded, and folded with CRLF."""

    __slots__ = ()


class MailPolicy(EmailPolicy):
    """The policy of SMTP, with 7-bit content for every server; each SentHeader is sent unchanged."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**{"linesep": "\r\n", "raise_on_defect": True, "cte_type": "7bit", **changes})

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        """Store a header."""
        return (name, value) if isinstance(value, SentHeader) else super().header_store_parse(name, value)

    def fold(self, name: str, value: str) -> str:
        """Return the lines of a header."""
        return f"{name}: {value}\r\n" if isinstance(value, SentHeader) else super().fold(name, value)

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return the octets of a header; those of an address of SMTPUTF8 are not ASCII."""
        return self.fold(name, value).encode() if isinstance(value, SentHeader) else super().fold_binary(name, value)


def text_header(name: str, text: str) -> SentHeader:
    """Write a text as the value of the header `name`, with a blank for each control character."""
    text = _CONTROLS.sub(" ", text)
    space = MAX_LINE - len(f"{name}: ")
    if text.isascii() and "=?" not in text:
        lines = textwrap.wrap(text, space, break_long_words=False, break_on_hyphens=False)
        if all(len(line) <= space for line in lines):
            return SentHeader("\r\n ".join(lines))
    return SentHeader("\r\n ".join(encoded_words(text, space)))


def mailbox_header(name: str, display_name: str, address: str) -> SentHeader:
    """Write a mailbox, such as `Concert Hall <tickets@example.com>`, as the value of the header `name`."""
    display_name = _CONTROLS.sub(" ", display_name)
    if not display_name:
        return SentHeader(address)
    if not display_name.isascii() or "=?" in display_name:
        words = encoded_words(display_name, MAX_LINE - len(f"{name}: "))
        return SentHeader("\r\n ".join([*words, f"<{address}>"]))
    escaped = display_name.replace("\\", r"\\").replace('"', r"\"")
    phrase = display_name if _ATOMS.fullmatch(display_name) else f'"{escaped}"'
    return SentHeader(f"{phrase} <{address}>")


def encoded_words(text: str, first: int = MAX_WORD) -> list[str]:
    """Return a text as encoded words, the first of at most `first` octets; each decodes to whole characters."""
    words, chunk, space = [], b"", _room(min(first, MAX_WORD))
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > space:
            words.append(chunk)
            chunk, space = b"", _room(MAX_WORD)
        chunk += octets
    return [_FRAME.format(base64.b64encode(word).decode()) for word in [*words, chunk]]


def _room(octets: int) -> int:
    """Return how many octets of text an encoded word of `octets` has room for."""
    return (octets - _FRAME_LENGTH) // 4 * 3
