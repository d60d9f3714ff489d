"""How a ticket's admission stands, made anew from its scans."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scan_service.domain.admission_state import admission_state, passed
from ticketing.admission.decision import Presented, decide
from ticketing.admission.scans import DenialReason, Gate, Scan, ScanType, Verdict
from ticketing.admission.tickets import (
    Admission,
    AdmissionPolicy,
    Entry,
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


def entry(number: int) -> Entry:
    return Entry(uuid.UUID(int=number), NOON + number * MINUTE, "North")


def test_nobody_came_where_nothing_was_let_through():
    denied = scan(1, verdict=Verdict.DENIED, denial_reason=DenialReason.BLOCKED)
    assert admission_state([denied, scan(2, annul_time=NOON), scan(3, ACCESS)], Admission()) == Admission()


def test_the_first_check_in_stands_and_the_latest_is_told():
    scans = [scan(3), scan(1), scan(2, OUT)]
    assert admission_state(scans, Admission()) == Admission(entry(1).time, entry(3), inside=True, sequence=1)


def test_whoever_left_last_is_not_inside():
    assert admission_state([scan(1), scan(2, OUT)], Admission()).inside is False
    assert admission_state([scan(2), scan(1, OUT)], Admission()).inside is True


def test_equal_times_stand_in_the_order_of_their_ids():
    left_at_once = scan(2, OUT, scan_time=scan(1).scan_time)
    assert [one.scan_id.int for one in passed([left_at_once, scan(1)])] == [1, 2]


def test_the_sequence_grows_exactly_when_the_check_in_changes():
    before = admission_state([scan(1)], Admission(sequence=7))
    assert before.sequence == 8
    assert admission_state([scan(1), scan(2)], before).sequence == 8
    assert admission_state([scan(1, annul_time=NOON), scan(2)], before).sequence == 9
    assert admission_state([scan(1, annul_time=NOON)], before) == Admission(sequence=9)


@given(st.sampled_from(AdmissionPolicy), st.lists(st.sampled_from(ScanType), max_size=12), st.randoms())
def test_live_decisions_step_by_step_come_to_the_same(policy, kinds, chance):
    event = Event(EVENT_ID, "orga", "Concert", EventStatus.PUBLISHED, policy, None, None, closed=False)
    ticket = Ticket(EVENT_ID, uuid.UUID(int=3), None, TicketStatus.ACTIVE, None, None, 1, b"", None)
    scans = []
    for number, kind in enumerate(kinds):
        decision = decide(event, Gate(EVENT_ID, "North"), Presented(ticket, 1, None), kind, entry(number))
        ticket = replace(ticket, admission=decision.admission or ticket.admission)
        if decision.reason is None:
            scans.append(scan(number, kind))
    chance.shuffle(scans)
    assert admission_state(scans, ticket.admission) == ticket.admission
