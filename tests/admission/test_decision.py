"""The rules of admission as a table: what is, what is shown, what the gate says."""

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
from ticketing.admission.decision import Presented, decide
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import (
    Admission,
    AdmissionPolicy,
    Entry,
    EventStatus,
    TicketStatus,
)


def decided(  # noqa: PLR0913 - what a case may name
    *, event=None, ticket=None, issue=2, allowed=frozenset(), time=NOON, scan_type=ScanType.CHECK_IN, admission=None
):
    shown = replace(TICKET, **(ticket or {}), admission=admission or Admission())
    entry = Entry(uuid.UUID(int=9), time, "South")
    return decide(
        replace(EVENT, **(event or {})),
        Gate(HERE, "South", allowed),
        Presented(shown, issue, shown.ticket_type),
        scan_type,
        entry,
    )


@pytest.mark.parametrize("case", DENIED)
def test_it_denies(case):
    changes, reason = DENIED[case]
    decision = decided(**changes)
    assert (decision.reason, decision.admission) == (reason, None)


@pytest.mark.parametrize("case", ADMITTED)
def test_it_admits(case):
    assert decided(**ADMITTED[case]).reason is None


def test_the_reason_looked_for_first_is_the_one_told():
    """Everything is wrong at once; what is told is put right, one after the other."""
    wrong: dict[str, Any] = {
        "ticket": {"event_id": ELSEWHERE, "status": TicketStatus.REFUNDED},
        "event": {"closed": True, "status": EventStatus.DRAFT},
        "issue": 1,
        "allowed": VIP_ONLY,
        "time": NOON + 2 * HOUR,
        "admission": INSIDE,
    }
    repairs: list[tuple[DenialReason | None, dict[str, Any]]] = [
        (DenialReason.WRONG_EVENT, {"ticket": {"status": TicketStatus.REFUNDED}}),
        (DenialReason.EVENT_CANCELLED, {"event": {"status": EventStatus.DRAFT}}),
        (DenialReason.EVENT_NOT_OPEN, {"event": {}}),
        (DenialReason.SUPERSEDED, {"issue": 2}),
        (DenialReason.REFUNDED, {"ticket": {}}),
        (DenialReason.TICKET_TYPE_NOT_ALLOWED, {"allowed": frozenset()}),
        (DenialReason.EXPIRED, {"time": NOON}),
        (DenialReason.ALREADY_CHECKED_IN, {"admission": Admission()}),
        (None, {}),
    ]
    for reason, repair in repairs:
        assert decided(**wrong).reason == reason
        wrong |= repair


def test_a_first_check_in_stands_and_is_to_be_reported():
    entry = Entry(uuid.UUID(int=9), NOON, "South")
    assert decided().admission == Admission(NOON, entry, inside=True, sequence=1)


def test_re_entry_keeps_the_first_check_in_and_tells_of_the_latest():
    again = decided(event={"policy": AdmissionPolicy.RE_ENTRY}, admission=OUTSIDE).admission
    assert (again.check_in_time, again.entry.time, again.inside, again.sequence) == (FIRST.time, NOON, True, 1)
    assert decided(event={"policy": AdmissionPolicy.RE_ENTRY}, admission=again).previous == again.entry


def test_leaving_changes_where_the_person_is_and_nothing_else():
    assert decided(scan_type=ScanType.CHECK_OUT, admission=INSIDE).admission == OUTSIDE


def test_an_area_changes_nothing():
    assert decided(scan_type=ScanType.ACCESS, admission=INSIDE).admission is None


def test_a_ticket_already_used_says_where():
    assert decided(admission=INSIDE).previous == FIRST


def test_every_reason_that_a_ticket_at_a_gate_can_have_is_in_the_table():
    told = {reason for _, reason in DENIED.values()}
    # These two are found before there is a ticket to decide on.
    assert told | {DenialReason.TICKET_NOT_FOUND, DenialReason.INVALID_SIGNATURE} == set(DenialReason)
