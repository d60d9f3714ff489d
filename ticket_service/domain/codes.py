"""Derive typed codes from the ticket, its issue and a secret, so that no dump of a database contains one.

The scan service derives the same codes from the same secret; a contract test compares the two.
"""

import hashlib
import hmac
from typing import Final
from uuid import UUID

CODE_PREFIX: Final = "TKT-"
DIGEST_BYTES: Final = 16


class Codes:
    """The codes of one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def code(self, ticket_id: UUID, issue: int) -> str:
        """Return the code of an issue of a ticket: "TKT-" and 16 hex digits."""
        message = b"ticketing code\0" + ticket_id.bytes + issue.to_bytes(4, "big")
        return CODE_PREFIX + hmac.digest(self._secret, message, hashlib.sha256)[:8].hex().upper()

    def digest(self, code: str) -> bytes:
        """Return the digest of a code, which databases store for look-up."""
        return hmac.digest(self._secret, b"ticketing code digest\0" + code.encode(), hashlib.sha256)[:DIGEST_BYTES]
