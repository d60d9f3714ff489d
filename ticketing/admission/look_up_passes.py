"""Look-up passes: a text that lets one device admit one ticket that it has looked up, for a short time.

A pass goes the way of a token or a typed code, so a looked-up ticket is decided, recorded and admitted once by the same
rules. The scan service signs it for the caller of the look-up: nobody can make one for a ticket by guessing its id.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from ticketing.admission.codes import Codes

PREFIX: Final = "LOOKUP1"
LIFETIME: Final = timedelta(minutes=10)
_MAC_BYTES: Final = 16
# The event, the ticket, the issue and the expiry.
_CLAIM_BYTES: Final = 16 + 16 + 4 + 4
_CHARACTERS: Final = len(PREFIX) + -(-(_CLAIM_BYTES + _MAC_BYTES) * 8 // 5)


@dataclass(frozen=True, slots=True)
class LookUpPass:
    """A parsed pass; it is genuine only once `is_genuine` has checked it."""

    event_id: UUID
    ticket_id: UUID
    issue: int
    expire_time: datetime
    mac: bytes = b""

    def sign(self, codes: Codes, caller: str) -> str:
        """Return the text of the pass for `caller`, a device or a person."""
        return _text(self._claim() + self._mac(codes, caller))

    def is_genuine(self, codes: Codes, caller: str, now: datetime) -> bool:
        """Return whether the scan service made the pass for `caller`, and it has not expired."""
        return now < self.expire_time and hmac.compare_digest(self.mac, self._mac(codes, caller))

    def _mac(self, codes: Codes, caller: str) -> bytes:
        return codes.pass_mac(self._claim() + caller.encode())

    def _claim(self) -> bytes:
        expire = int(self.expire_time.timestamp())
        return self.event_id.bytes + self.ticket_id.bytes + self.issue.to_bytes(4, "big") + expire.to_bytes(4, "big")


def is_pass(text: str) -> bool:
    """Return whether a text has the form of a pass."""
    return len(text) == _CHARACTERS and text.startswith(PREFIX)


def read_pass(text: str) -> LookUpPass | None:
    """Read a pass; return None where the text does not have the form of one."""
    if not is_pass(text):
        return None
    digits = text[len(PREFIX) :]
    try:
        data = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        return None
    # The last character has two unused bits; a pass has one text only.
    if text != _text(data):
        return None
    claim, mac = data[:_CLAIM_BYTES], data[_CLAIM_BYTES:]
    issue, expire = int.from_bytes(claim[32:36], "big"), int.from_bytes(claim[36:], "big")
    return LookUpPass(UUID(bytes=claim[:16]), UUID(bytes=claim[16:32]), issue, datetime.fromtimestamp(expire, UTC), mac)


def _text(data: bytes) -> str:
    return PREFIX + base64.b32encode(data).decode().rstrip("=")
