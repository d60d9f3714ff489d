"""Tests of the merge of an uploaded decision with the scan that is recorded under the same scan_id."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan_service.domain.incidents import IncidentKind
from scan_service.domain.offline import merge_records
from tests.scanning.cases import MICROSECOND, MINUTE, NOON
from tests.scanning.records import recorded
from ticketing.admission.scans import DenialReason, Scan, Verdict

SCAN_ID = uuid.UUID(int=9)
DENIAL: dict[str, Any] = {"verdict": Verdict.DENIED, "denial_reason": DenialReason.ALREADY_CHECKED_IN}


def live(**values: Any) -> Scan:
    """Make a scan that the service decided at noon."""
    return recorded(0, scan_id=SCAN_ID, **values)


def uploaded(minute: float = 0, arrives: float = 5, **values: Any) -> Scan:
    """Make an offline decision of that minute, which arrives some minutes after noon."""
    return recorded(minute, scan_id=SCAN_ID, offline=True, **{"record_time": NOON + arrives * MINUTE} | values)


def claim(minute: float) -> dict[str, Any]:
    return {"claimed_annul_time": NOON + minute * MINUTE}


def test_an_upload_of_the_decision_of_the_service_changes_nothing():
    assert merge_records(live(), uploaded(), counted=True) == live()
    assert merge_records(live(**DENIAL), uploaded(**DENIAL), counted=True) == live(**DENIAL)


def test_the_decision_that_the_person_was_shown_prevails():
    admitted = uploaded()
    assert merge_records(live(**DENIAL), admitted, counted=True) == admitted
    other = uploaded(verdict=Verdict.DENIED, denial_reason=DenialReason.BLOCKED)
    assert merge_records(live(**DENIAL), other, counted=True) == other


def test_the_earlier_of_two_uploads_of_a_decision_prevails():
    earlier, later = uploaded(1), uploaded(2)
    assert merge_records(earlier, later, counted=False) == merge_records(later, earlier, counted=False) == earlier


DECISIONS = st.builds(
    lambda minute, decision, location: uploaded(minute, location=location, **decision),
    st.integers(0, 2),
    st.sampled_from([{}, DENIAL, DENIAL | {"denial_reason": DenialReason.BLOCKED}]),
    st.sampled_from(["North", "South"]),
)


@given(DECISIONS, DECISIONS)
def test_the_order_of_uploads_without_a_claim_makes_no_difference(one, other):
    assert merge_records(one, other, counted=False) == merge_records(other, one, counted=False)


def test_a_denial_takes_back_a_durable_admission_within_15_minutes():
    denied = uploaded(arrives=15, **DENIAL)
    assert merge_records(live(), denied, counted=True) == denied


def test_a_later_denial_leaves_the_admission_as_an_incident():
    late = uploaded(record_time=NOON + 15 * MINUTE + MICROSECOND, **DENIAL)
    kept = replace(live(), violation=IncidentKind.INVALID_ANNULMENT)
    assert merge_records(live(), late, counted=True) == kept
    # Nothing was refused because of a scan that is not durable yet, or not in effect.
    assert merge_records(live(), late, counted=False) == late
    annulled = live(annul_time=NOON)
    assert merge_records(annulled, late, counted=True) == late


def test_an_earlier_violation_of_a_kept_admission_remains():
    known = live(violation=IncidentKind.DOUBLE_ADMISSION)
    assert merge_records(known, uploaded(arrives=99, **DENIAL), counted=True) == known


def test_a_denial_has_no_annulment():
    denied = uploaded(1, **DENIAL)
    before = uploaded(2, annul_time=NOON, **claim(3))
    merged = merge_records(before, denied, counted=True)
    assert (merged.verdict, merged.annul_time, merged.claimed_annul_time) == (Verdict.DENIED, None, None)


@pytest.mark.parametrize("other", [{"device_id": "turnstile"}, {"scanner_user_id": "sue"}])
def test_only_the_scanner_of_a_durable_scan_annuls_it(other):
    foreign = uploaded(**claim(1), **other)
    kept = replace(live(), violation=IncidentKind.INVALID_ANNULMENT)
    assert merge_records(live(), foreign, counted=True) == kept
    own = merge_records(live(), uploaded(**claim(1)), counted=True)
    assert (own.violation, own.claimed_annul_time) == (None, NOON + 5 * MINUTE)


def test_an_upload_without_a_claim_from_another_device_is_no_annulment():
    assert merge_records(live(), uploaded(device_id="turnstile"), counted=True) == live()


def test_the_annulment_of_a_durable_scan_takes_effect_when_it_arrives():
    merged = merge_records(live(), uploaded(arrives=5, **claim(1)), counted=True)
    assert (merged.annul_time, merged.claimed_annul_time) == (None, NOON + 5 * MINUTE)
    ahead = merge_records(live(), uploaded(arrives=5, **claim(6)), counted=True)
    assert ahead.claimed_annul_time == NOON + 6 * MINUTE
    unseen = merge_records(live(), uploaded(arrives=5, **claim(1)), counted=False)
    assert unseen.claimed_annul_time == NOON + MINUTE


def test_an_annulment_by_the_service_stays():
    annulled = live(annul_time=NOON + 2 * MINUTE)
    for upload in (uploaded(), uploaded(**claim(1))):
        merged = merge_records(annulled, upload, counted=True)
        assert (merged.annul_time, merged.claimed_annul_time) == (NOON + 2 * MINUTE, None)


def test_a_repeated_claim_keeps_the_time_of_its_first_effect():
    settled = uploaded(annul_time=NOON + 5 * MINUTE, **claim(5))
    for upload in (uploaded(arrives=9, **claim(1)), uploaded(arrives=9, **claim(8)), uploaded(arrives=9)):
        again = merge_records(settled, upload, counted=True)
        assert (again.annul_time, again.claimed_annul_time) == (NOON + 5 * MINUTE, NOON + 5 * MINUTE)


def test_of_claims_with_two_clock_offsets_the_later_one_counts():
    first, second = uploaded(**claim(5)), uploaded(1, **claim(6))
    for known, new in ((first, second), (second, first)):
        merged = merge_records(known, new, counted=False)
        assert merged.claimed_annul_time == NOON + 6 * MINUTE
    # The service decides about a new claim again.
    settled = replace(first, annul_time=NOON + 5 * MINUTE)
    assert merge_records(settled, second, counted=False).annul_time is None
