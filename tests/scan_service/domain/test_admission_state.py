"""Tests of the fold of scans into the admission state."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan_service.domain.admission_state import fold_scans, select_effective
from ticketing.admission.decision import PresentedTicket, decide
from ticketing.admission.scans import DenialReason, Gate, Scan, ScanType, Verdict
from ticketing.admission.tickets import (
    AdmissionPolicy,
    AdmissionState,
    CheckIn,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENT_ID = uuid.UUID(int=1)
IN, OUT, ACCESS = ScanType.CHECK_IN, ScanType.CHECK_OUT, ScanType.ACCESS


def scan(number: int, kind: ScanType = IN, **values: Any) -> Scan:
    """Make an admitted scan, `number` minutes after noon."""
    plain = Scan(
        scan_id=uuid.UUID(int=number),
        gate_event_id=EVENT_ID,
        fingerprint=b"",
        code="",
        scan_type=kind,
        verdict=Verdict.ADMITTED,
        denial_reason=None,
        ticket_id=uuid.UUID(int=3),
        event_id=EVENT_ID,
        ticket_type=TicketType.STANDARD,
        scan_time=NOON + number * MINUTE,
        record_time=NOON,
        location="North",
        scanner_user_id="sam",
        metadata={},
    )
    return replace(plain, **values)


def check_in(number: int) -> CheckIn:
    return CheckIn(uuid.UUID(int=number), NOON + number * MINUTE, "North")


def test_ineffective_scans_leave_no_admission():
    denied = scan(1, verdict=Verdict.DENIED, denial_reason=DenialReason.BLOCKED)
    assert fold_scans([denied, scan(2, annul_time=NOON), scan(3, ACCESS)], AdmissionState()) == AdmissionState()


def test_the_state_has_the_first_and_the_latest_check_in():
    scans = [scan(3), scan(1), scan(2, OUT)]
    assert fold_scans(scans, AdmissionState()) == AdmissionState(check_in(1).time, check_in(3), inside=True, sequence=1)


def test_a_person_is_inside_after_a_check_in_until_a_check_out():
    assert fold_scans([scan(1), scan(2, OUT)], AdmissionState()).inside is False
    assert fold_scans([scan(2), scan(1, OUT)], AdmissionState()).inside is True


def exit_denied(number: int, reason: DenialReason = DenialReason.NOT_CHECKED_IN) -> Scan:
    """Make a check-out that was denied, by default because the check-in was not recorded yet."""
    return scan(number, OUT, verdict=Verdict.DENIED, denial_reason=reason)


def test_a_denied_exit_counts_once_the_check_in_before_it_is_known():
    left = AdmissionState(check_in(1).time, check_in(1), inside=False, sequence=1)
    assert fold_scans([exit_denied(2)], AdmissionState()) == AdmissionState()
    assert fold_scans([exit_denied(2), scan(1)], AdmissionState()) == left
    assert fold_scans([exit_denied(2), scan(1), scan(3)], AdmissionState()).inside is True


def test_a_denied_exit_before_or_without_a_check_in_has_no_effect():
    assert fold_scans([exit_denied(1), scan(2)], AdmissionState()).inside is True
    assert fold_scans([scan(1, annul_time=NOON), exit_denied(2)], AdmissionState()) == AdmissionState()
    assert [one.scan_id.int for one in select_effective([scan(1), exit_denied(2), exit_denied(3)])] == [1, 2]


def test_an_exit_denied_for_another_reason_has_no_effect():
    assert fold_scans([scan(1), exit_denied(2, DenialReason.WRONG_EVENT)], AdmissionState()).inside is True


def test_scans_of_equal_time_are_ordered_by_id():
    check_out = scan(2, OUT, scan_time=scan(1).scan_time)
    assert [one.scan_id.int for one in select_effective([check_out, scan(1)])] == [1, 2]


def test_the_sequence_grows_exactly_when_the_check_in_changes():
    before = fold_scans([scan(1)], AdmissionState(sequence=7))
    assert before.sequence == 8
    assert fold_scans([scan(1), scan(2)], before).sequence == 8
    assert fold_scans([scan(1, annul_time=NOON), scan(2)], before).sequence == 9
    assert fold_scans([scan(1, annul_time=NOON)], before) == AdmissionState(sequence=9)


@given(st.sampled_from(AdmissionPolicy), st.lists(st.sampled_from(ScanType), max_size=12), st.randoms())
@pytest.mark.slow
def test_live_decisions_lead_to_the_folded_state(policy, kinds, chance):
    event = Event(EVENT_ID, "orga", "Concert", EventStatus.PUBLISHED, policy, None, None, closed=False)
    ticket = Ticket(EVENT_ID, uuid.UUID(int=3), None, TicketStatus.ACTIVE, None, None, 1, b"", None)
    scans = []
    for number, kind in enumerate(kinds):
        decision = decide(event, Gate(EVENT_ID, "North"), PresentedTicket(ticket, 1, None), kind, check_in(number))
        ticket = replace(ticket, admission=decision.admission or ticket.admission)
        # Without offline scans, no denied scan has an effect.
        verdict = Verdict.ADMITTED if decision.reason is None else Verdict.DENIED
        scans.append(scan(number, kind, verdict=verdict, denial_reason=decision.reason))
    chance.shuffle(scans)
    assert fold_scans(scans, ticket.admission) == ticket.admission


def test_a_denied_exit_counts_only_for_a_person_inside():
    denied = scan(2, OUT, verdict=Verdict.DENIED, denial_reason=DenialReason.NOT_CHECKED_IN)
    assert select_effective([denied]) == []
    assert select_effective([scan(1), denied]) == [scan(1), denied]
