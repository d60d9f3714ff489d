"""Tests of gate devices and their credentials."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scan_service.domain.devices import (
    ENROLLMENT_WINDOW,
    Credentials,
    Device,
    DeviceRequest,
    code_digest,
    token_digest,
)

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
DEVICE = Device(uuid.UUID(int=1), "orga", "North", frozenset(), NOON)
REQUEST = uuid.UUID(int=2)
OURS, THEIRS = Credentials("s" * 32), Credentials("t" * 32)


def test_a_device_enrolls_within_an_hour_unless_it_is_revoked():
    assert timedelta(hours=1) == ENROLLMENT_WINDOW
    assert DEVICE.may_enroll(NOON + ENROLLMENT_WINDOW)
    assert not DEVICE.may_enroll(NOON + ENROLLMENT_WINDOW + timedelta(microseconds=1))
    assert not replace(DEVICE, revoke_time=NOON).may_enroll(NOON)


def test_an_equal_request_created_the_device():
    request = DeviceRequest("North", frozenset(), REQUEST)
    assert request.created(DEVICE)
    assert not replace(request, name="South").created(DEVICE)
    assert not replace(request, event_ids=frozenset({REQUEST})).created(DEVICE)


def test_a_code_has_sixteen_characters_in_groups_of_four():
    for request_id in (REQUEST, None):
        groups = OURS.code(DEVICE.device_id, request_id).split("-")
        assert [len(group) for group in groups] == [4, 4, 4, 4]


def test_credentials_of_a_repeated_request_are_the_same():
    code = OURS.code(DEVICE.device_id, REQUEST)
    assert code == OURS.code(DEVICE.device_id, REQUEST) != THEIRS.code(DEVICE.device_id, REQUEST)
    assert code not in {OURS.code(uuid.UUID(int=3), REQUEST), OURS.code(DEVICE.device_id, DEVICE.device_id)}
    token = OURS.token(code, REQUEST)
    # The code is typed, so case, blanks and hyphens make no difference.
    assert token == OURS.token(f" {code.lower().replace('-', ' ')}", REQUEST) != THEIRS.token(code, REQUEST)
    assert token not in {OURS.token(code, DEVICE.device_id), OURS.token("another", REQUEST)}


def test_credentials_stay_those_that_devices_have():
    # A repeated request returns them again, also by a later version.
    code = OURS.code(DEVICE.device_id, REQUEST)
    assert (code, OURS.token(code, REQUEST)) == (
        "EGLV-M5PU-BRFH-J6D5",
        "device_eWrSkNuG9fojotyhxyp4RZge31vQP4d52D-W7-FOsZ0",
    )
    assert code_digest("abcd") == token_digest("ABCD")


def test_every_token_has_43_characters_after_its_prefix():
    assert {len(OURS.token("code", None)) for _ in range(300)} == {len("device_") + 43}


def test_credentials_without_a_request_id_are_random():
    assert OURS.code(DEVICE.device_id, None) != OURS.code(DEVICE.device_id, None)
    assert OURS.token("code", None) != OURS.token("code", None)


@pytest.mark.parametrize("request_id", [REQUEST, None])
def test_a_token_proves_its_installation(request_id):
    token = OURS.token("code", request_id)
    assert len(token) == len("device_") + 43
    assert OURS.are_ours(token)
    assert not THEIRS.are_ours(token)
    assert not OURS.are_ours(f"{token[:20]} {token[20:]}")
    body = token.removeprefix("device_")
    for position in (0, 26, 42):
        other = "A" if body[position] != "A" else "E"
        assert not OURS.are_ours(f"device_{body[:position]}{other}{body[position + 1 :]}")


@pytest.mark.parametrize("token", ["", "device_", "device_!", f"device_{'A' * 43}", f"device_{'A' * 27}", "no token"])
def test_other_texts_are_no_token_of_ours(token):
    assert not OURS.are_ours(token)


def test_the_digest_of_a_code_ignores_how_it_is_typed():
    assert code_digest("abcd-EFGH") == code_digest(" ABCD efgh\n") == code_digest("ABCDEFGH")
    assert code_digest("ABCDEFGH") != code_digest("ABCDEFGI")
    assert token_digest("a") != token_digest("A")
    assert len(token_digest("a")) == 32
