"""Tests of the fingerprint of a scan."""

import uuid
from dataclasses import replace

import pytest

from ticketing.admission.scans import Attempt, Gate, ScanType

ATTEMPT = Attempt(uuid.uuid4(), Gate(uuid.UUID(int=1), "North"), "code", None, ScanType.CHECK_IN, "sam", None, {})


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
