"""Signed tokens, as ticket_token.proto describes them: reading and verifying what a QR code holds."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from google.protobuf.message import DecodeError
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from ticketing.admission.tickets import TicketType
from ticketing.tickets.v1 import event_pb2, ticket_token_pb2

TOKEN_PREFIX: Final = "T1"  # noqa: S105 - a format's name, no secret
# Signed with the payload, so that a signature made for something else is never one for a ticket.
CONTEXT: Final = b"ticketing.tickets.v1.TicketToken\0"
DIGEST_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
MAX_ISSUE: Final = 2**31 - 1
# Two ids and three small numbers; past these lengths a text does not even look like a token.
PAYLOAD_BYTES: Final = range(40, 61)

# Python reads base 32 with the digits 0-9A-V, at once; base64.b32decode takes ten times as long. Whatever else a text
# holds becomes what is no digit.
_BASE32: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NO_DIGIT: Final = ord("!")
_TO_DIGITS: Final = bytes(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUV"[_BASE32.index(byte)] if byte in _BASE32 else _NO_DIGIT for byte in range(256)
)
_TYPES: Final = {event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}"): kind for kind in TicketType}


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says; genuine only once its digest or its signature has been compared."""

    key_id: int
    event_id: UUID
    ticket_id: UUID
    ticket_type: TicketType
    issue: int
    # Of its text.
    digest: bytes
    signature: bytes
    signed: bytes

    def verifies(self, key: VerifyKey) -> bool:
        """Tell whether `key` made the signature; some 60 µs."""
        try:
            key.verify(self.signed, self.signature)
        except BadSignatureError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One of the ticket service's keys."""

    key: VerifyKey
    # Nothing is signed with it before.
    activate_time: datetime
    # Tokens signed with it are denied from here on.
    retire_time: datetime | None

    def is_retired(self, now: datetime) -> bool:
        """Tell whether its tokens are denied."""
        return self.retire_time is not None and now >= self.retire_time


def is_genuine(token: Token, known_digest: bytes | None, key: PublicKey | None, now: datetime) -> bool:
    """Tell whether the ticket service made `token`.

    Args:
        token: what was read.
        known_digest: of the ticket's token, as the feed brought it: equality is as strong as the signature.
        key: the one that the token names, if it is known.
        now: the present time.
    """
    if key is not None and key.is_retired(now):
        return False
    if token.digest == known_digest:
        return True
    return key is not None and now >= key.activate_time and token.verifies(key.key)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A text that looks like a token and is none: damaged or made up."""


DAMAGED: Final = Damaged()


def read_token(text: str) -> Token | Damaged | None:
    """Read a token; None where the text does not even look like one."""
    data = _bytes(text)
    if data is None or isinstance(data, Damaged):
        return data
    signature, payload = data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:]
    try:
        said = ticket_token_pb2.TicketToken.FromString(payload)
    except DecodeError:
        return DAMAGED
    # One ticket, one text: other spellings of the same payload are refused.
    if said.SerializeToString(deterministic=True) != payload:
        return DAMAGED
    kind = _TYPES.get(said.ticket_type)
    if kind is None or len(said.event_id) != 16 or len(said.ticket_id) != 16 or not 1 <= said.issue <= MAX_ISSUE:  # noqa: PLR2004 - bytes in a UUID
        return DAMAGED
    return Token(
        key_id=said.key_id,
        event_id=_event_id(said.event_id),
        ticket_id=UUID(bytes=said.ticket_id),
        ticket_type=kind,
        issue=said.issue,
        digest=hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES],
        signature=signature,
        signed=CONTEXT + payload,
    )


@lru_cache(1_000)
def _event_id(data: bytes) -> UUID:
    """Read the id that thousands of tokens have in common."""
    return UUID(bytes=data)


def _bytes(text: str) -> bytes | Damaged | None:
    """Decode the Base32 of a text of a token's form."""
    size, spare_bits = divmod(5 * (len(text) - len(TOKEN_PREFIX)), 8)
    if not text.startswith(TOKEN_PREFIX) or size - SIGNATURE_BYTES not in PAYLOAD_BYTES:
        return None
    digits = text[len(TOKEN_PREFIX) :].encode("ascii", "replace").translate(_TO_DIGITS)
    if _NO_DIGIT in digits:
        return None
    number = int(digits, 32)
    # More than four spare bits are a character too many; set ones are another spelling of the same bytes.
    if spare_bits > 4 or number & ((1 << spare_bits) - 1):  # noqa: PLR2004 - a character holds five
        return DAMAGED
    return (number >> spare_bits).to_bytes(size, "big")
