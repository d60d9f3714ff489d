"""Tests of tokens: each ticket has one valid text, and every similar text is refused."""

import base64
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nacl.signing import SigningKey

from tests.scanning.gates import token_of
from ticketing.admission.tickets import TicketStatus, TicketType
from ticketing.admission.tokens import DAMAGED, PublicKey, Token, is_genuine, read_token
from ticketing.tickets.v1 import ticket_token_pb2

# The same key in every process, so that parametrized tests have the same names.
KEY = SigningKey(b"k" * 32)
EVENT, TICKET = uuid.UUID(int=2**100 + 1), uuid.UUID(int=2**101 + 1)
TEXT = token_of(KEY, EVENT, TICKET, issue=3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PUBLIC = PublicKey(KEY.verify_key, NOW, None)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def token_in(text: str) -> Token:
    token = read_token(text)
    assert isinstance(token, Token)
    return token


def encoded(payload: bytes, signature: bytes | None = None) -> str:
    signature = signature or KEY.sign(b"ticketing.tickets.v1.TicketToken\0" + payload).signature
    return "T1" + base64.b32encode(signature + payload).decode().rstrip("=")


def test_a_token_contains_the_signed_fields():
    token = token_in(TEXT)
    assert (token.key_id, token.event_id, token.ticket_id) == (1, EVENT, TICKET)
    assert (token.ticket_type, token.issue) == (TicketType.STANDARD, 3)
    assert is_genuine(token, None, PUBLIC, NOW)


@pytest.mark.parametrize("text", ["", "T1", "nothing", TEXT.lower(), TEXT + " ", TEXT[:-30], TEXT * 2, "T2" + TEXT[2:]])
def test_a_text_without_the_form_of_a_token_is_none(text):
    assert read_token(text) is None


# Characters that int() would accept, letters and digits of other alphabets, and characters without an encoding.
@pytest.mark.parametrize(
    "character", ["0", "1", "8", "_", " ", "+", "-", "a", "=", "!", "٣", "\uff21", "é", "\udcff", "\0"]
)
def test_a_character_outside_base_32_makes_a_text_none(character):
    assert read_token(TEXT[:50] + character + TEXT[51:]) is None


@pytest.mark.parametrize("position", range(2, len(TEXT)))
def test_no_other_text_in_the_form_of_a_token_is_genuine(position):
    for letter in {"A", "7", ALPHABET[ALPHABET.index(TEXT[position]) ^ 1]} - {TEXT[position]}:
        other = read_token(TEXT[:position] + letter + TEXT[position + 1 :])
        assert not isinstance(other, Token) or not is_genuine(other, None, PUBLIC, NOW)


def payload(**values) -> bytes:
    usual: dict[str, Any] = {
        "key_id": 1,
        "event_id": EVENT.bytes,
        "ticket_id": TICKET.bytes,
        "ticket_type": 1,
        "issue": 3,
    }
    return ticket_token_pb2.TicketToken(**(usual | values)).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "data",
    [
        payload(ticket_type=0),
        payload(ticket_type=9),
        payload(event_id=EVENT.bytes + b"x"),
        payload(ticket_id=TICKET.bytes[:-1]),
        payload(issue=0),
        payload(issue=2**31),
        # The same fields in another order, and one field twice.
        payload()[2:] + payload()[:2],
        payload() + b"\x28\x03",
        b"\xff" * 42,
    ],
)
def test_an_invalid_payload_is_damaged(data):
    assert read_token(encoded(data)) is DAMAGED


def test_another_encoding_of_the_same_bytes_is_damaged():
    body = payload()
    # The payload leaves spare bits in the last character; a set spare bit is a second encoding.
    text = encoded(body)
    assert (len(text) - 2) * 5 % 8 != 0
    assert read_token(text[:-1] + ALPHABET[ALPHABET.index(text[-1]) | 1]) is DAMAGED
    assert read_token(TEXT + "A" * (8 - (len(TEXT) - 2) % 8 + 1)) is DAMAGED


def test_a_token_of_the_largest_numbers_is_read():
    token = token_in(encoded(payload(key_id=2**32 - 1, issue=2**31 - 1)))
    assert (token.key_id, token.issue, len(token.digest)) == (2**32 - 1, 2**31 - 1, 16)


def test_a_payload_of_more_than_60_bytes_is_no_token():
    assert read_token(encoded(b"\xff" * 39)) is None
    assert read_token(encoded(b"\xff" * 40)) is DAMAGED
    assert read_token(encoded(b"\xff" * 60)) is DAMAGED
    assert read_token(encoded(b"\xff" * 61)) is None


def test_a_genuine_token_proves_an_active_ticket():
    ticket = token_in(TEXT).ticket()
    assert (ticket.event_id, ticket.ticket_id, ticket.issue) == (EVENT, TICKET, 3)
    assert (ticket.ticket_type, ticket.status) == (TicketType.STANDARD, TicketStatus.ACTIVE)
    assert (ticket.code_digest, ticket.token_digest) == (b"", None)


def test_a_signature_of_another_document_does_not_verify():
    other = token_in(encoded(payload(), KEY.sign(payload()).signature))
    assert not is_genuine(other, None, PUBLIC, NOW)


def test_a_known_digest_suffices_unless_the_key_is_retired():
    token = token_in(TEXT)
    other = PublicKey(SigningKey.generate().verify_key, NOW, None)
    assert not is_genuine(token, None, other, NOW)
    assert is_genuine(token, token.digest, other, NOW)
    assert is_genuine(token, token.digest, None, NOW)
    retired = PublicKey(KEY.verify_key, NOW, NOW)
    assert not is_genuine(token, token.digest, retired, NOW)
    assert is_genuine(token, None, retired, NOW - timedelta(microseconds=1)) is False


def test_a_key_verifies_from_its_activation_until_it_is_retired():
    token, second = token_in(TEXT), timedelta(seconds=1)
    key = PublicKey(KEY.verify_key, NOW, NOW + 2 * second)
    seen = [is_genuine(token, None, key, NOW + n * second) for n in (-1, 0, 1, 2)]
    assert seen == [False, True, True, False]
    assert not is_genuine(token, None, None, NOW)
