"""Tests of the admission rules by a table of cases."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.scanning.cases import (
    ADMITTED,
    DENIED,
    ELSEWHERE,
    EVENT,
    FIRST,
    HERE,
    HOUR,
    INSIDE,
    NOON,
    OUTSIDE,
    TICKET,
    VIP_ONLY,
)
from ticketing.admission.decision import PresentedTicket, decide
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import AdmissionPolicy, AdmissionState, CheckIn, EventStatus, TicketStatus


def decided(  # noqa: PLR0913 - what a case may name
    *,
    by_token=True,
    event=None,
    ticket=None,
    issue=2,
    allowed=frozenset(),
    time=NOON,
    scan_type=ScanType.CHECK_IN,
    admission=None,
):
    shown = replace(TICKET, **(ticket or {}), admission=admission or AdmissionState())
    check_in = CheckIn(uuid.UUID(int=9), time, "South")
    return decide(
        replace(EVENT, **(event or {})),
        Gate(HERE, "South", allowed),
        PresentedTicket(shown, issue, shown.ticket_type, by_token),
        scan_type,
        check_in,
    )


@pytest.mark.parametrize("case", DENIED)
def test_the_rules_deny(case):
    changes, reason = DENIED[case]
    decision = decided(**changes)
    assert (decision.reason, decision.admission) == (reason, None)


@pytest.mark.parametrize("case", ADMITTED)
def test_the_rules_admit(case):
    assert decided(**ADMITTED[case]).reason is None


def test_a_typed_code_does_not_open_an_event_in_draft():
    assert decided(event={"status": EventStatus.DRAFT}, by_token=False).reason is DenialReason.EVENT_NOT_OPEN


def test_the_first_applicable_reason_is_returned():
    """All reasons apply at first; the test removes each returned reason, one after the other."""
    wrong: dict[str, Any] = {
        "ticket": {"event_id": ELSEWHERE, "status": TicketStatus.REFUNDED},
        "event": {"closed": True, "status": EventStatus.COMPLETED},
        "issue": 1,
        "allowed": VIP_ONLY,
        "time": NOON + 2 * HOUR,
        "admission": INSIDE,
    }
    repairs: list[tuple[DenialReason | None, dict[str, Any]]] = [
        (DenialReason.WRONG_EVENT, {"ticket": {"status": TicketStatus.REFUNDED}}),
        (DenialReason.EVENT_CANCELLED, {"event": {"status": EventStatus.COMPLETED}}),
        (DenialReason.EVENT_NOT_OPEN, {"event": {}}),
        (DenialReason.SUPERSEDED, {"issue": 2}),
        (DenialReason.REFUNDED, {"ticket": {}}),
        (DenialReason.TICKET_TYPE_NOT_ALLOWED, {"allowed": frozenset()}),
        (DenialReason.EXPIRED, {"time": NOON}),
        (DenialReason.ALREADY_CHECKED_IN, {"admission": AdmissionState()}),
        (None, {}),
    ]
    for reason, repair in repairs:
        assert decided(**wrong).reason == reason
        wrong |= repair


def test_a_first_check_in_is_kept_and_increments_the_sequence():
    check_in = CheckIn(uuid.UUID(int=9), NOON, "South")
    assert decided().admission == AdmissionState(NOON, check_in, inside=True, sequence=1)


def test_re_entry_keeps_the_first_and_the_latest_check_in():
    again = decided(event={"policy": AdmissionPolicy.RE_ENTRY}, admission=OUTSIDE).admission
    assert (again.check_in_time, again.latest_check_in.time, again.inside, again.sequence) == (
        FIRST.time,
        NOON,
        True,
        1,
    )
    assert decided(event={"policy": AdmissionPolicy.RE_ENTRY}, admission=again).previous == again.latest_check_in


def test_a_check_out_changes_only_inside():
    assert decided(scan_type=ScanType.CHECK_OUT, admission=INSIDE).admission == OUTSIDE


def test_an_access_changes_nothing():
    assert decided(scan_type=ScanType.ACCESS, admission=INSIDE).admission is None


def test_a_denied_second_check_in_names_the_previous_one():
    assert decided(admission=INSIDE).previous == FIRST


def test_the_cases_cover_every_reason():
    reasons = {reason for _, reason in DENIED.values()}
    # These two apply before a ticket is known, and these to groups; see test_groups.py.
    unidentified = {DenialReason.TICKET_NOT_FOUND, DenialReason.INVALID_SIGNATURE}
    groups = {DenialReason.NOT_A_GROUP, DenialReason.GROUP_TOO_SMALL}
    assert reasons | unidentified | groups == set(DenialReason)
