"""What is recorded of a scan."""

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
def test_what_was_read_is_cut_and_escaped(text, recorded):
    assert sanitize_text(text) == recorded


def test_what_is_recorded_opens_nothing_though_it_was_genuine():
    """It may be, and only not be known here yet."""
    assert sanitize_text("TKT-0123456789ABCDEF") == "TKT-012345…"
    assert sanitize_text(" tkt-0123456789abcdef, and TKT-FEDCBA9876543210") == " TKT-012345…, and TKT-FEDCBA…"
    # Of a signature of 64 bytes a third, also where blanks, another case or more text hide it.
    assert sanitize_text("T1" + "A" * 170) == "T1" + "A" * 38 + "…"
    assert sanitize_text(" t1" + "a" * 170 + "!") == " T1" + "A" * 38 + "…!"


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
