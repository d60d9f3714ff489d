"""Look-up passes: who may use one, for which ticket, and until when."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from ticketing.admission.codes import Codes, read_code
from ticketing.admission.look_up_passes import LIFETIME, PREFIX, LookUpPass, is_pass, read_pass
from ticketing.admission.scanned_text import readings, sanitize_text
from ticketing.admission.tokens import read_token

CODES = Codes("s" * 32)
EXPIRE = datetime(2030, 6, 1, 20, 0, tzinfo=UTC)
NOW = EXPIRE - timedelta(minutes=5)
PASS = LookUpPass(uuid4(), uuid4(), 3, EXPIRE)


def read(text: str) -> LookUpPass:
    found = read_pass(text)
    assert found is not None
    return found


def test_a_pass_names_the_ticket_that_was_looked_up():
    found = read(PASS.sign(CODES, "sam"))
    assert (found.event_id, found.ticket_id, found.issue, found.expire_time) == (
        *(PASS.event_id, PASS.ticket_id, 3, EXPIRE),
    )
    assert found.is_genuine(CODES, "sam", NOW)


def test_every_pass_is_read_again():
    # The last characters of a pass may be any of base 32.
    for second in range(100):
        signed = replace(PASS, expire_time=EXPIRE + timedelta(seconds=second)).sign(CODES, "sam")
        assert read(signed).is_genuine(CODES, "sam", NOW)


def test_a_pass_is_valid_for_ten_minutes():
    assert timedelta(minutes=10) == LIFETIME


def test_a_pass_is_for_its_caller_and_ends():
    found = read(PASS.sign(CODES, "sam"))
    assert not found.is_genuine(CODES, "tim", NOW)
    assert not found.is_genuine(CODES, "sam", EXPIRE)
    assert not found.is_genuine(Codes("t" * 32), "sam", NOW)


def test_a_changed_pass_is_not_genuine():
    text = PASS.sign(CODES, "sam")
    claims = bytearray(base64.b32decode(text.removeprefix(PREFIX) + "=" * 6))
    for index in range(len(claims)):
        changed = bytes([*claims[:index], claims[index] ^ 1, *claims[index + 1 :]])
        found = read(PREFIX + base64.b32encode(changed).decode().rstrip("="))
        assert not found.is_genuine(CODES, "sam", NOW), index


def test_a_pass_has_one_text_only():
    text = PASS.sign(CODES, "sam")
    others = {text[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"} - {text}
    found = [read_pass(other) for other in others]
    assert not any(one is not None and one.is_genuine(CODES, "sam", NOW) for one in found)


@pytest.mark.parametrize("text", ["", PREFIX, f"{PREFIX}{'A' * 89}", f"{PREFIX}{'!' * 90}", f"{PREFIX}{'Ä' * 90}"])
def test_other_texts_are_no_pass(text):
    assert read_pass(text) is None


def test_a_pass_is_neither_code_nor_token_and_leaves_no_trace():
    for _ in range(200):
        text = LookUpPass(uuid4(), uuid4(), 1, EXPIRE).sign(CODES, "sam")
        assert is_pass(text)
        assert (read_code(text), read_token(text), next(readings(text), None)) == (None, None, None)
        assert sanitize_text(text) == "(97 letters and digits)"
