"""The rules of admission as a table: what is, what is shown, what the gate says."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scan_service.domain.admission import Presented, decide
from scan_service.domain.scans import DenialReason, Gate, ScanType
from scan_service.domain.tickets import (
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
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
HERE, ELSEWHERE = uuid.UUID(int=1), uuid.UUID(int=2)
EVENT = Event(
    event_id=HERE,
    organizer_id="orga",
    name="Concert",
    status=EventStatus.PUBLISHED,
    policy=AdmissionPolicy.SINGLE_ENTRY,
    valid_from_time=NOON - HOUR,
    valid_until_time=NOON + HOUR,
    closed=False,
)
TICKET = Ticket(
    event_id=HERE,
    ticket_id=uuid.UUID(int=3),
    ticket_type=TicketType.STANDARD,
    status=TicketStatus.ACTIVE,
    valid_from_time=None,
    valid_until_time=None,
    issue=2,
    code_digest=b"",
    token_digest=None,
)
FIRST = Entry(uuid.UUID(int=4), NOON - HOUR / 2, "North")
INSIDE = Admission(FIRST.time, FIRST, inside=True, sequence=1)
OUTSIDE = replace(INSIDE, inside=False)
VIP_ONLY = frozenset({TicketType.VIP})

# Every case is the plain one, which is admitted, but for what it names.
DENIED = {
    "a ticket for another event": ({"ticket": {"event_id": ELSEWHERE}}, DenialReason.WRONG_EVENT),
    "an event that was called off": ({"event": {"status": EventStatus.CANCELLED}}, DenialReason.EVENT_CANCELLED),
    "an event closed by the ticket service": ({"event": {"closed": True}}, DenialReason.EVENT_CANCELLED),
    "an event in draft": ({"event": {"status": EventStatus.DRAFT}}, DenialReason.EVENT_NOT_OPEN),
    "an event that is over": ({"event": {"status": EventStatus.COMPLETED}}, DenialReason.EVENT_NOT_OPEN),
    "an older issue": ({"issue": 1}, DenialReason.SUPERSEDED),
    "a refunded ticket": ({"ticket": {"status": TicketStatus.REFUNDED}}, DenialReason.REFUNDED),
    "a cancelled ticket": ({"ticket": {"status": TicketStatus.CANCELLED}}, DenialReason.CANCELLED),
    "a blocked ticket": ({"ticket": {"status": TicketStatus.BLOCKED}}, DenialReason.BLOCKED),
    "a type this gate does not take": ({"allowed": VIP_ONLY}, DenialReason.TICKET_TYPE_NOT_ALLOWED),
    "a moment before the doors open": ({"time": NOON - HOUR - MICROSECOND}, DenialReason.NOT_YET_VALID),
    "a moment after the end": ({"time": NOON + HOUR + MICROSECOND}, DenialReason.EXPIRED),
    "a day ticket on the day before": (
        {"ticket": {"valid_from_time": NOON + MICROSECOND, "valid_until_time": NOON + HOUR}},
        DenialReason.NOT_YET_VALID,
    ),
    "a day ticket on the day after": (
        {"ticket": {"valid_from_time": NOON - HOUR, "valid_until_time": NOON - MICROSECOND}},
        DenialReason.EXPIRED,
    ),
    "a second entry": ({"admission": INSIDE}, DenialReason.ALREADY_CHECKED_IN),
    "a second entry after leaving": ({"admission": OUTSIDE}, DenialReason.ALREADY_CHECKED_IN),
    "re-entry of somebody inside": (
        {"event": {"policy": AdmissionPolicy.RE_ENTRY}, "admission": INSIDE},
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "leaving without having come": ({"scan_type": ScanType.CHECK_OUT}, DenialReason.NOT_CHECKED_IN),
    "leaving twice": ({"scan_type": ScanType.CHECK_OUT, "admission": OUTSIDE}, DenialReason.NOT_CHECKED_IN),
    "an area without having come": ({"scan_type": ScanType.ACCESS}, DenialReason.NOT_CHECKED_IN),
    "an area after leaving": ({"scan_type": ScanType.ACCESS, "admission": OUTSIDE}, DenialReason.NOT_CHECKED_IN),
    "an area with a blocked ticket": (
        {"scan_type": ScanType.ACCESS, "admission": INSIDE, "ticket": {"status": TicketStatus.BLOCKED}},
        DenialReason.BLOCKED,
    ),
}

ADMITTED = {
    "the plain case": {},
    "the moment the doors open": {"time": NOON - HOUR},
    "the last moment": {"time": NOON + HOUR},
    "a day ticket outside the event's hours": {
        "time": NOON + 2 * HOUR,
        "ticket": {"valid_from_time": NOON, "valid_until_time": NOON + 3 * HOUR},
    },
    "an issue newer than the copy": {"issue": 3},
    "a type this gate takes": {"allowed": frozenset({TicketType.STANDARD})},
    "re-entry after leaving": {"event": {"policy": AdmissionPolicy.RE_ENTRY}, "admission": OUTSIDE},
    "unlimited entry of somebody inside": {"event": {"policy": AdmissionPolicy.UNLIMITED}, "admission": INSIDE},
    "leaving": {"scan_type": ScanType.CHECK_OUT, "admission": INSIDE},
    "leaving after the event was called off, with a ticket blocked meanwhile": {
        "scan_type": ScanType.CHECK_OUT,
        "admission": INSIDE,
        "event": {"closed": True},
        "ticket": {"status": TicketStatus.BLOCKED},
        "time": NOON + 9 * HOUR,
    },
    "an area by somebody inside": {"scan_type": ScanType.ACCESS, "admission": INSIDE},
    "an area of an event that counts nobody": {
        "scan_type": ScanType.ACCESS,
        "event": {"policy": AdmissionPolicy.UNLIMITED},
    },
}


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
    wrong = {
        "ticket": {"event_id": ELSEWHERE, "status": TicketStatus.REFUNDED},
        "event": {"closed": True, "status": EventStatus.DRAFT},
        "issue": 1,
        "allowed": VIP_ONLY,
        "time": NOON + 2 * HOUR,
        "admission": INSIDE,
    }
    repairs = [
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
