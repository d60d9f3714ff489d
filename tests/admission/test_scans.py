"""Tests of scans: their fingerprints, the scans of a group, and the codes of stored scans."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.environment.access import CODE_SECRET
from ticketing.admission.codes import Codes, mask_code
from ticketing.admission.scans import Attempt, Gate, Scan, ScanType, Verdict, restore_code

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
        {"device_id": "handheld"},
        {"group_count": 2},
        {"group_count": 2, "group_index": 1},
    ],
)
def test_a_different_scan_has_another_fingerprint(other):
    assert replace(ATTEMPT, **other).fingerprint() != ATTEMPT.fingerprint()


def test_each_scan_of_a_group_has_its_own_fingerprint():
    group = replace(ATTEMPT, group_count=4)
    scans = [group, *group.further(), replace(group, group_count=3)]
    assert len({scan.fingerprint() for scan in scans}) == len(scans)


def test_a_repeated_scan_has_the_same_fingerprint():
    moved = replace(ATTEMPT, gate=Gate(uuid.UUID(int=1), "South"), metadata={"try": 2})
    assert moved.fingerprint() == ATTEMPT.fingerprint()


def test_a_fingerprint_stays_that_of_stored_scans():
    # Databases contain fingerprints: another form would refuse every repetition of an earlier scan.
    assert ATTEMPT.fingerprint().hex() == "fb24dc246c4c7a69724ceee3430a46bb"
    assert replace(ATTEMPT, group_count=2).fingerprint().hex() == "efe9fcaae4d6b6903b5d17166a826e82"


def test_further_tickets_of_a_group_have_scan_ids_of_their_own():
    group = replace(ATTEMPT, group_count=4)
    further = group.further()
    assert [scan.group_index for scan in further] == [1, 2, 3]
    assert len({scan.scan_id for scan in (group, *further)}) == 4
    assert [scan.scan_id for scan in group.further()] == [scan.scan_id for scan in further]
    assert {(scan.text, scan.gate, scan.group_count) for scan in further} == {("code", ATTEMPT.gate, 4)}


def test_a_scan_of_one_ticket_has_no_further_ones():
    assert list(ATTEMPT.further()) == list(replace(ATTEMPT, group_count=1).further()) == []


CODES, NOON = Codes(CODE_SECRET), datetime(2030, 6, 1, 12, tzinfo=UTC)
STORED = Scan(
    scan_id=uuid.UUID(int=4),
    gate_event_id=uuid.UUID(int=1),
    fingerprint=b"f" * 16,
    code=mask_code(CODES.code(uuid.UUID(int=5), 2)),
    scan_type=ScanType.CHECK_IN,
    verdict=Verdict.ADMITTED,
    denial_reason=None,
    ticket_id=uuid.UUID(int=5),
    event_id=uuid.UUID(int=1),
    ticket_type=None,
    scan_time=NOON,
    record_time=NOON,
    location="North",
    scanner_user_id="sam",
    metadata={},
    issue=2,
)


def test_a_stored_scan_gets_the_code_of_its_ticket_and_issue():
    assert restore_code(STORED, CODES) == replace(STORED, code=CODES.code(uuid.UUID(int=5), 2))


@pytest.mark.parametrize("missing", ["ticket_id", "issue"])
def test_a_stored_scan_of_no_known_ticket_keeps_its_text(missing):
    absent: dict[str, Any] = {missing: None}
    unknown = replace(STORED, **absent)
    assert restore_code(unknown, CODES) == unknown
