"""The reading and verification of signed tokens, the content of QR codes; `ticket_token.proto` describes the format."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from google.protobuf.message import DecodeError
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from ticketing.admission.records import record
from ticketing.admission.tickets import Ticket, TicketStatus, TicketType
from ticketing.tickets.v1 import event_pb2, ticket_token_pb2

TOKEN_PREFIX: Final = "T1"  # noqa: S105 - a format's name, no secret
# The signature covers this context too, so that a signature of another document never verifies as a ticket.
CONTEXT: Final = b"ticketing.tickets.v1.TicketToken\0"
DIGEST_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
UUID_BYTES: Final = 16
MAX_ISSUE: Final = 2**31 - 1
# A payload has two ids and three small numbers; a text with a payload of another length is not a token.
PAYLOAD_BYTES: Final = range(40, 61)

# int() reads base 32 with the digits 0-9A-V in one call; base64.b32decode takes ten times as long. Every other
# character is translated to one that is not a digit.
_BASE32: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NO_DIGIT: Final = ord("!")
_TO_DIGITS: Final = bytes(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUV"[_BASE32.index(byte)] if byte in _BASE32 else _NO_DIGIT for byte in range(256)
)
_TYPES: Final = {event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}"): kind for kind in TicketType}


@record(frozen=True, slots=True)
class Token:
    """A parsed token; it is genuine only once `is_genuine` has checked it."""

    key_id: int
    event_id: UUID
    ticket_id: UUID
    ticket_type: TicketType
    issue: int
    # The digest of the text.
    digest: bytes
    signature: bytes
    signed: bytes

    def verifies(self, key: VerifyKey) -> bool:
        """Return whether `key` made the signature; the check takes about 60 µs."""
        try:
            key.verify(self.signed, self.signature)
        except BadSignatureError:
            return False
        return True

    def ticket(self, code_digest: bytes = b"") -> Ticket:
        """Return the ticket that this token proves if it is genuine; a device has no digest of the code."""
        return Ticket(
            event_id=self.event_id,
            ticket_id=self.ticket_id,
            ticket_type=self.ticket_type,
            status=TicketStatus.ACTIVE,
            valid_from_time=None,
            valid_until_time=None,
            issue=self.issue,
            code_digest=code_digest,
            token_digest=None,
        )


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of the ticket service."""

    key: VerifyKey
    # The key signs nothing before this time.
    activate_time: datetime
    # Tokens signed with the key are denied from this time on; None: the key is not retired.
    retire_time: datetime | None


def is_genuine(token: Token, known_digest: bytes | None, key: PublicKey | None, now: datetime) -> bool:
    """Return whether the ticket service made `token`, which names `key`; None: the key is unknown.

    The feed delivers `known_digest`, the digest of the ticket's token: its equality is as strong as the signature.
    """
    if key is not None and key.retire_time is not None and now >= key.retire_time:
        return False
    if token.digest == known_digest:
        return True
    return key is not None and now >= key.activate_time and token.verifies(key.key)


@dataclass(frozen=True, slots=True)
class DamagedToken:
    """A text that has the form of a token but is not a valid one."""


DAMAGED: Final = DamagedToken()


def read_token(text: str) -> Token | DamagedToken | None:
    """Read a token; return None where the text does not have the form of one."""
    data = _bytes(text)
    if data is None or isinstance(data, DamagedToken):
        return data
    signature, payload = data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:]
    try:
        message = ticket_token_pb2.TicketToken.FromString(payload)
    except DecodeError:
        return DAMAGED
    # Each payload has one valid encoding; other encodings of it are refused.
    if message.SerializeToString(deterministic=True) != payload:
        return DAMAGED
    kind = _TYPES.get(message.ticket_type)
    if (
        kind is None
        or not len(message.event_id) == len(message.ticket_id) == UUID_BYTES
        or not 1 <= message.issue <= MAX_ISSUE
    ):
        return DAMAGED
    return Token(
        key_id=message.key_id,
        event_id=_event_id(message.event_id),
        ticket_id=UUID(bytes=message.ticket_id),
        ticket_type=kind,
        issue=message.issue,
        digest=hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES],
        signature=signature,
        signed=CONTEXT + payload,
    )


@lru_cache(1_000)
def _event_id(data: bytes) -> UUID:
    """Read an event id; thousands of tokens share one."""
    return UUID(bytes=data)


def _bytes(text: str) -> bytes | DamagedToken | None:
    size, spare_bits = divmod(5 * (len(text) - len(TOKEN_PREFIX)), 8)
    if not text.startswith(TOKEN_PREFIX) or size - SIGNATURE_BYTES not in PAYLOAD_BYTES:
        return None
    digits = text[len(TOKEN_PREFIX) :].encode("ascii", "replace").translate(_TO_DIGITS)
    if _NO_DIGIT in digits:
        return None
    number = int(digits, 32)
    # More than four spare bits are one character too many; a set spare bit is a second encoding of the same bytes.
    if spare_bits > 4 or number & ((1 << spare_bits) - 1):  # noqa: PLR2004 - a character has five
        return DAMAGED
    return (number >> spare_bits).to_bytes(size, "big")
