"""Tests of the recorded text and of the fingerprint of a scan."""

import uuid
from dataclasses import replace

import pytest

from ticketing.admission.scans import Attempt, Gate, ScanType, sanitize_text

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
def test_recorded_text_is_truncated_and_escaped(text, recorded):
    assert sanitize_text(text) == recorded


def test_recorded_text_contains_no_full_code_or_token():
    """The text may be a genuine ticket that the service does not know yet."""
    assert sanitize_text("TKT-0123456789ABCDEF") == "TKT-012345…"
    assert sanitize_text(" tkt-0123456789abcdef, and TKT-FEDCBA9876543210") == " TKT-012345…, and TKT-FEDCBA…"
    # A third of the signature of 64 bytes, also with blanks, another case or more text around it.
    assert sanitize_text("T1" + "A" * 170) == "T1" + "A" * 38 + "…"
    assert sanitize_text(" t1" + "a" * 170 + "!") == " T1" + "A" * 38 + "…!"


@pytest.mark.parametrize(
    "other",
    [
        {"gate": Gate(uuid.UUID(int=2), "North")},
        {"text": "other"},
        {"scan_type": ScanType.ACCESS},
        {"scanner_user_id": "sue"},
        # The fields contain the same characters, divided differently.
        {"scanner_user_id": "sa", "text": "mcode"},
    ],
)
def test_a_different_scan_has_another_fingerprint(other):
    assert replace(ATTEMPT, **other).fingerprint() != ATTEMPT.fingerprint()


def test_a_repeated_scan_has_the_same_fingerprint():
    moved = replace(ATTEMPT, gate=Gate(uuid.UUID(int=1), "South"), metadata={"try": 2})
    assert moved.fingerprint() == ATTEMPT.fingerprint()
