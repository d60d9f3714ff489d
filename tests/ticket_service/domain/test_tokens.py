import base64
import hashlib
import re

from nacl.signing import SigningKey

from ticket_service.domain.events import TicketType
from ticket_service.domain.tokens import Signer, token_digest
from ticketing.chassis.ids import new_id
from ticketing.tickets.v1 import event_pb2, ticket_token_pb2

KEY = SigningKey(b"k" * 32)
SIGNER = Signer(7, KEY)


def decoded(token: str) -> tuple[bytes, bytes]:
    text = token.removeprefix("T1")
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    return raw[:64], raw[64:]


def test_a_token_is_172_letters_and_digits():
    token = SIGNER.token(new_id(), new_id(), TicketType.VIP, 1)
    assert re.fullmatch(r"T1[A-Z2-7]{170}", token)


def test_a_token_names_its_ticket_and_verifies_in_its_domain():
    event_id, ticket_id = new_id(), new_id()
    signature, payload = decoded(SIGNER.token(event_id, ticket_id, TicketType.GROUP, 3))
    KEY.verify_key.verify(b"ticketing.tickets.v1.TicketToken\0" + payload, signature)
    assert ticket_token_pb2.TicketToken.FromString(payload) == ticket_token_pb2.TicketToken(
        key_id=7, event_id=event_id.bytes, ticket_id=ticket_id.bytes, ticket_type=event_pb2.TICKET_TYPE_GROUP, issue=3
    )


def test_the_same_ticket_always_has_the_same_token():
    ticket = (new_id(), new_id(), TicketType.STANDARD, 1)
    assert SIGNER.token(*ticket) == SIGNER.token(*ticket)


def test_a_token_digest_is_of_the_text_of_the_token():
    assert token_digest("T1ABC") == hashlib.sha256(b"T1ABC").digest()[:16]
