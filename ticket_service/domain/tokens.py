"""Signed tokens as ticket_token.proto defines them: the content of a QR code."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from nacl.signing import SigningKey

from ticket_service.domain.base32 import base32
from ticket_service.domain.events import TicketType
from ticketing.tickets.v1 import ticket_token_pb2

TOKEN_PREFIX: Final = "T1"  # noqa: S105 - the name of a format, not a secret
# The signature covers this prefix too, so that a signature made for another purpose never verifies.
CONTEXT: Final = b"ticketing.tickets.v1.TicketToken\0"
DIGEST_BYTES: Final = 16

# The enum comes from the descriptor of the payload, because the domain imports no other message of the contract.
_TYPE_ENUM: Final[Any] = ticket_token_pb2.TicketToken.DESCRIPTOR.fields_by_name["ticket_type"].enum_type
_TYPES: Final = {kind: _TYPE_ENUM.values_by_name[f"TICKET_TYPE_{kind}"].number for kind in TicketType}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that verifies tokens."""

    key_id: int
    public_key: bytes
    activate_time: datetime
    # None: the key is not retired.
    retire_time: datetime | None


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key that signs tokens."""

    key_id: int
    private_key: SigningKey

    def token(self, event_id: UUID, ticket_id: UUID, ticket_type: TicketType, issue: int) -> str:
        """Sign a token; equal arguments and keys give equal tokens, because Ed25519 is deterministic (RFC 8032)."""
        payload = ticket_token_pb2.TicketToken(
            key_id=self.key_id,
            event_id=event_id.bytes,
            ticket_id=ticket_id.bytes,
            ticket_type=_TYPES[ticket_type],
            issue=issue,
        ).SerializeToString(deterministic=True)
        signature = self.private_key.sign(CONTEXT + payload).signature
        return TOKEN_PREFIX + base32(signature + payload)


def token_digest(token: str) -> bytes:
    """Return the digest by which a database recognises a genuine token."""
    return hashlib.sha256(token.encode()).digest()[:DIGEST_BYTES]
