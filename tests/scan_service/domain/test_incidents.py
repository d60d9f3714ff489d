"""Tests of the incidents that follow from the recorded scans of a ticket."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from scan_service.domain.incidents import (
    NO_SUBJECT,
    IncidentKind,
    IncidentScan,
    assign_conflicts,
    assign_forgery,
    assign_guess,
    find_violation,
)
from tests.scanning.cases import DAILY, EVENT, HERE, MINUTE, NOON, TICKET, VIP_ONLY
from tests.scanning.records import TICKET_ID, recorded
from ticketing.admission.decision import PresentedTicket
from ticketing.admission.scans import Attempt, DenialReason, Gate, OfflineDecision, Scan, ScanType, Verdict
from ticketing.admission.tickets import AdmissionPolicy, Event, EventStatus, TicketStatus, TicketType
from ticketing.admission.tokens import DAMAGED, Token

IN, OUT, ACCESS = ScanType.CHECK_IN, ScanType.CHECK_OUT, ScanType.ACCESS
DOUBLE, INVALID = IncidentKind.DOUBLE_ADMISSION, IncidentKind.INVALID_ADMISSION
RE_ENTRY = replace(EVENT, policy=AdmissionPolicy.RE_ENTRY)
UNLIMITED = replace(EVENT, policy=AdmissionPolicy.UNLIMITED)
TOKEN = Token(1, HERE, TICKET_ID, TicketType.STANDARD, 1, b"d" * 16, b"", b"")


def attempt(**values: Any) -> Attempt:
    usual = Attempt(uuid.uuid4(), Gate(HERE, "North"), "text", None, IN, "sam", None, {})
    return replace(usual, **values)


def violation(event: Event = EVENT, minute: float = 0, *, decided: dict[str, Any] | None = None, **ticket: Any):
    offline = OfflineDecision(Verdict.ADMITTED, None, NOON, None, **decided or {})
    presented = PresentedTicket(replace(TICKET, **ticket), 2, TicketType.STANDARD, by_token=True)
    return find_violation(event, attempt(offline=offline), presented, NOON + minute * MINUTE)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (DenialReason.SUPERSEDED, IncidentKind.REVOKED_ADMISSION),
        (DenialReason.CANCELLED, IncidentKind.REVOKED_ADMISSION),
        (DenialReason.REFUNDED, IncidentKind.REVOKED_ADMISSION),
        (DenialReason.BLOCKED, IncidentKind.REVOKED_ADMISSION),
        (DenialReason.EVENT_CANCELLED, IncidentKind.REVOKED_ADMISSION),
        (DenialReason.INVALID_SIGNATURE, IncidentKind.FORGED_TOKEN),
        (DenialReason.WRONG_EVENT, INVALID),
        (DenialReason.EXPIRED, INVALID),
    ],
)
def test_the_kind_of_a_violation_follows_from_the_reason(reason, kind):
    assert find_violation(EVENT, attempt(), reason, NOON) is kind


def test_an_admission_within_the_rules_violates_none():
    assert violation() is None


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"status": TicketStatus.REFUNDED}, IncidentKind.REVOKED_ADMISSION),
        ({"issue": 3}, IncidentKind.REVOKED_ADMISSION),
        ({"minute": 61}, INVALID),
        ({"event": replace(EVENT, closed=True)}, IncidentKind.REVOKED_ADMISSION),
    ],
)
def test_an_admission_against_the_rules_is_of_its_kind(broken, kind):
    assert violation(**broken) is kind


def test_a_completed_event_is_judged_by_its_times():
    over = replace(EVENT, status=EventStatus.COMPLETED)
    assert (violation(over), violation(over, 61)) == (None, INVALID)


def test_a_device_without_the_time_violates_no_hours():
    unknown = {"clock_unknown": True}
    assert violation(minute=999, decided=unknown) is None
    assert violation(minute=999, decided=unknown, valid_until_time=NOON) is None
    assert violation(minute=-999, decided=unknown, valid_from_time=NOON) is None
    assert violation(decided=unknown, status=TicketStatus.CANCELLED) is IncidentKind.REVOKED_ADMISSION


def test_the_gate_and_the_kind_of_scan_count():
    presented = PresentedTicket(TICKET, 2, TicketType.STANDARD)
    vip = attempt(gate=Gate(HERE, "North", VIP_ONLY))
    assert find_violation(EVENT, vip, presented, NOON) is INVALID
    assert find_violation(EVENT, replace(vip, scan_type=OUT), presented, NOON) is None


def test_a_denied_forgery_is_an_incident_once_it_is_repeated():
    admitted, denied = recorded(0, ticket_id=None), recorded(0, ticket_id=None, verdict=Verdict.DENIED)
    subject = uuid.UUID(bytes=b"d" * 16)
    forged = IncidentKind.FORGED_TOKEN
    assert assign_forgery(admitted, TOKEN) == IncidentScan(HERE, forged, subject, None, admitted.scan_id, 1)
    assert assign_forgery(denied, TOKEN) == IncidentScan(HERE, forged, subject, None, denied.scan_id, 2)


def test_a_damaged_token_is_an_incident_if_it_was_admitted():
    admitted = recorded(0, ticket_id=None)
    found = assign_forgery(admitted, DAMAGED)
    assert found == IncidentScan(HERE, IncidentKind.FORGED_TOKEN, NO_SUBJECT, None, admitted.scan_id, 1)
    assert assign_forgery(recorded(0, verdict=Verdict.DENIED), DAMAGED) is None


def test_guesses_of_one_device_and_person_are_one_incident():
    subjects = [
        assign_guess(recorded(minute, device_id=device, scanner_user_id=user)).subject
        for minute, (device, user) in enumerate([("a", "sam"), ("a", "sam"), ("b", "sam"), ("a", "sue")])
    ]
    assert subjects[0] == subjects[1]
    assert len(set(subjects)) == 3


def conflicts(event: Event | None, *scans: Scan) -> list[tuple[IncidentKind, int]]:
    """Return the incidents of a ticket's scans, each scan by its place."""
    ids = [scan.scan_id for scan in scans]
    found = list(assign_conflicts(event, scans))
    assert {(one.event_id, one.subject, one.ticket_id) for one in found} <= {(HERE, TICKET_ID, TICKET_ID)}
    assert {one.min_scans for one in found} <= {1}
    return sorted((one.kind, ids.index(one.scan_id)) for one in found)


def offline(minute: float, kind: ScanType = IN, **values: Any) -> Scan:
    return recorded(minute, kind, offline=True, **values)


def test_one_check_in_is_no_incident():
    assert conflicts(EVENT, offline(0)) == []


def test_the_violation_of_a_scan_is_its_incident():
    revoked = offline(0, violation=IncidentKind.REVOKED_ADMISSION)
    assert conflicts(EVENT, revoked) == conflicts(None, revoked) == [(IncidentKind.REVOKED_ADMISSION, 0)]
    assert conflicts(EVENT, replace(revoked, annul_time=NOON)) == []
    # The scan of the forged token was assigned when it was recorded.
    assert conflicts(EVENT, offline(0, violation=IncidentKind.FORGED_TOKEN)) == []


def test_a_refused_claim_of_an_annulment_is_an_incident():
    assert conflicts(EVENT, offline(0, claimed_annul_time=NOON)) == [(IncidentKind.INVALID_ANNULMENT, 0)]


def test_two_check_ins_are_a_double_admission_if_one_was_offline():
    assert conflicts(EVENT, offline(0), recorded(1)) == [(DOUBLE, 0), (DOUBLE, 1)]
    assert conflicts(EVENT, recorded(0), recorded(1)) == []
    assert conflicts(EVENT, offline(0), recorded(1, annul_time=NOON)) == []
    assert conflicts(UNLIMITED, offline(0), offline(1)) == []
    # The policy of the gate's event does not apply to a ticket for another event.
    assert conflicts(None, offline(0), offline(1)) == []


def test_a_check_out_separates_check_ins_under_re_entry_alone():
    left = (offline(0), offline(1, OUT), offline(2))
    assert conflicts(RE_ENTRY, *left) == []
    assert conflicts(EVENT, *left) == [(DOUBLE, 0), (DOUBLE, 2)]
    twice = (*left, offline(3), offline(4, OUT))
    assert conflicts(RE_ENTRY, *twice) == [(DOUBLE, 2), (DOUBLE, 3)]
    before = (offline(0), offline(1), offline(2, OUT), offline(3))
    assert conflicts(RE_ENTRY, *before) == [(DOUBLE, 0), (DOUBLE, 1)]


def test_a_new_day_separates_check_ins():
    daily = replace(EVENT, **DAILY)
    days = (offline(-24 * 60), offline(0), offline(1), offline(24 * 60))
    assert conflicts(daily, *days) == [(DOUBLE, 1), (DOUBLE, 2)]
    assert conflicts(daily, offline(-24 * 60), offline(-24 * 60 + 1), offline(0)) == [(DOUBLE, 0), (DOUBLE, 1)]


def test_an_offline_exit_of_a_person_outside_is_an_incident():
    assert conflicts(EVENT, offline(0, OUT)) == [(INVALID, 0)]
    assert conflicts(EVENT, offline(0, ACCESS)) == [(INVALID, 0)]
    assert conflicts(EVENT, recorded(0, OUT)) == conflicts(EVENT, recorded(0, ACCESS)) == []
    assert conflicts(EVENT, offline(0), offline(1, ACCESS), offline(2, OUT)) == []
    assert conflicts(EVENT, offline(0), offline(1, OUT), offline(2, ACCESS)) == [(INVALID, 2)]


def test_an_area_under_unlimited_needs_no_check_in_but_an_exit_does():
    assert conflicts(UNLIMITED, offline(0, ACCESS)) == []
    assert conflicts(UNLIMITED, offline(0, OUT)) == [(INVALID, 0)]


def test_repeated_annulments_of_check_ins_are_an_incident():
    first, second = recorded(0, annul_time=NOON), recorded(1, annul_time=NOON)
    repeated = IncidentKind.REPEATED_ANNULMENT
    assert conflicts(EVENT, first, second) == [(repeated, 0), (repeated, 1)]
    assert conflicts(EVENT, first, recorded(1)) == []
    assert conflicts(EVENT, first, recorded(1, OUT, annul_time=NOON)) == []
    unknown = [replace(scan, ticket_id=None) for scan in (first, second)]
    assert list(assign_conflicts(EVENT, unknown)) == []
