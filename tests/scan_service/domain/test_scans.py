"""What is recorded of a scan."""

import uuid
from dataclasses import replace

import pytest

from scan_service.domain.scans import Attempt, Gate, ScanType, recorded_text

ATTEMPT = Attempt(uuid.uuid4(), Gate(uuid.UUID(int=1), "North"), "code", None, ScanType.CHECK_IN, "sam", None, {})


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        ("plain", "plain"),
        ("x" * 300, "x" * 200),
        ("a\0b\nc", "a\\x00b\\nc"),
        ("Grüße 🎟", "Grüße 🎟"),
        ("\u202eevil", "\\u202eevil"),
    ],
)
def test_what_was_read_is_cut_and_escaped(text, recorded):
    assert recorded_text(text) == recorded


@pytest.mark.parametrize(
    "other",
    [
        {"gate": Gate(uuid.UUID(int=2), "North")},
        {"text": "other"},
        {"scan_type": ScanType.ACCESS},
        {"scanner_user_id": "sue"},
        # The same characters, divided another way.
        {"scanner_user_id": "sa", "text": "mcode"},
    ],
)
def test_a_scan_that_differs_has_another_fingerprint(other):
    assert replace(ATTEMPT, **other).fingerprint() != ATTEMPT.fingerprint()


def test_a_device_that_moved_or_repeats_has_the_same_fingerprint():
    moved = replace(ATTEMPT, gate=Gate(uuid.UUID(int=1), "South"), metadata={"try": 2})
    assert moved.fingerprint() == ATTEMPT.fingerprint()
