"""Tests of manipulated tokens: each is denied with the right reason where the original is admitted."""

import base64
import uuid

import pytest
from nacl.signing import SigningKey

from scan_service.store.tables import signing_keys
from tests.scanning.gates import DAY, NOW, Device, ScansDatabase, Service, token_of
from ticketing.scans.v1 import scan_pb2

FORGED = scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
NO_TICKET = scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
WINDOW = 50
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def bytes_of(text: str) -> bytes:
    body = text[2:]
    return base64.b32decode(body + "=" * (-len(body) % 8))


def text_of(data: bytes) -> str:
    return "T1" + base64.b32encode(data).decode().rstrip("=")


async def reasons(service: Service, event_id: uuid.UUID, texts: list[str]) -> list[int]:
    """Scan texts one after the other; return the denial reason of each, 0 where it was admitted."""
    device, found = Device(service), []
    await device.open(event_id)
    for begin in range(0, len(texts), WINDOW):
        window = texts[begin : begin + WINDOW]
        for text in window:
            await device.ask(text)
        found += [(await device.receive()).result.denial_reason for _ in window]
    await device.call.done_writing()
    return found


@pytest.mark.parametrize("digest", [True, False], ids=["known by its digest", "known by its signature"])
@pytest.mark.slow
async def test_every_flipped_bit_of_a_token_is_detected(
    database: ScansDatabase,
    service: Service,
    digest: bool,  # noqa: FBT001 - a parameter
) -> None:
    event_id = database.event()
    token = database.ticket(event_id, digest=digest).token
    data = bytes_of(token)
    assert text_of(data) == token
    flipped = [
        text_of(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        for place in range(len(data))
        for bit in range(8)
    ]
    assert set(await reasons(service, event_id, flipped)) == {FORGED}
    # The original token is admitted.
    assert await reasons(service, event_id, [token]) == [scan_pb2.DENIAL_REASON_UNSPECIFIED]


@pytest.mark.slow
async def test_a_shortened_or_lengthened_token_is_denied(database: ScansDatabase, service: Service) -> None:
    event_id = database.event()
    token = database.ticket(event_id).token
    shorter = [token[:length] for length in range(len(token))] + [token[start:] for start in range(1, len(token))]
    longer = [token + letter for letter in LETTERS] + [letter + token for letter in LETTERS]
    longer += [token + " ", " " + token, token * 2, token + "A" * 8, token + "\n"]
    found = dict(zip(shorter + longer, await reasons(service, event_id, shorter + longer), strict=True))
    assert set(found.values()) == {FORGED, NO_TICKET}
    # A text with one character less or more still has the form of a token.
    assert found[token[:-1]] == found[token + "A"] == FORGED
    assert await reasons(service, event_id, [token]) == [scan_pb2.DENIAL_REASON_UNSPECIFIED]


async def test_a_foreign_token_is_denied_with_its_reason(database: ScansDatabase, service: Service) -> None:
    event_id, elsewhere = database.event(), database.event()
    ticket, foreign = database.ticket(event_id), database.ticket(elsewhere)
    stranger, retired = SigningKey.generate(), SigningKey.generate()
    database.insert(
        signing_keys, key_id=2, public_key=bytes(retired.verify_key), activate_time=NOW - 2 * DAY, retire_time=NOW - DAY
    )
    shown = {
        foreign.token: scan_pb2.DENIAL_REASON_WRONG_EVENT,
        token_of(stranger, event_id, ticket.ticket_id): FORGED,
        token_of(stranger, event_id, ticket.ticket_id, key_id=99): FORGED,
        token_of(retired, event_id, ticket.ticket_id, key_id=2): FORGED,
        # The signature of another ticket's token with the payload of this one.
        text_of(bytes_of(foreign.token)[:64] + bytes_of(ticket.token)[64:]): FORGED,
    }
    assert dict(zip(shown, await reasons(service, event_id, list(shown)), strict=True)) == shown


async def test_a_token_of_an_older_issue_is_superseded(database: ScansDatabase, service: Service) -> None:
    event_id = database.event()
    ticket = database.ticket(event_id, issue=2)
    older = token_of(database.key, event_id, ticket.ticket_id, issue=1)
    assert await reasons(service, event_id, [older]) == [scan_pb2.DENIAL_REASON_SUPERSEDED]
