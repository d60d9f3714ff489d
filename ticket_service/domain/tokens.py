"""Signed tokens, as ticket_token.proto describes them: what a QR code holds."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from nacl.signing import SigningKey

from ticket_service.domain.events import TicketType
from ticketing.tickets.v1 import event_pb2, ticket_token_pb2

TOKEN_PREFIX: Final = "T1"  # noqa: S105 - a format's name, no secret
# Signed with the payload, so that a signature made for something else is never one for a ticket.
CONTEXT: Final = b"ticketing.tickets.v1.TicketToken\0"
DIGEST_BYTES: Final = 16

_TYPES: Final = {kind: event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}") for kind in TicketType}


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs tokens with one private key."""

    key_id: int
    private_key: SigningKey

    def token(self, event_id: UUID, ticket_id: UUID, ticket_type: TicketType, issue: int) -> str:
        """Return the token's text; the same ticket and key always give the same (RFC 8032 is deterministic)."""
        payload = ticket_token_pb2.TicketToken(
            key_id=self.key_id,
            event_id=event_id.bytes,
            ticket_id=ticket_id.bytes,
            ticket_type=_TYPES[ticket_type],
            issue=issue,
        ).SerializeToString(deterministic=True)
        signature = self.private_key.sign(CONTEXT + payload).signature
        return TOKEN_PREFIX + base64.b32encode(signature + payload).decode().rstrip("=")


def token_digest(token: str) -> bytes:
    """Return what gates may recognise a genuine token by."""
    return hashlib.sha256(token.encode()).digest()[:DIGEST_BYTES]
