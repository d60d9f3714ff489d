"""The rules for a group that is admitted by one scan with a count."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.scanning.cases import DAILY, EVENT, HERE, INSIDE, INSIDE_SINCE_YESTERDAY, NOON, OUTSIDE, TICKET
from ticketing.admission.decision import PresentedTicket
from ticketing.admission.groups import GroupDecision, decide_group
from ticketing.admission.scans import DenialReason, Gate, GroupAdmission, group_scan_id
from ticketing.admission.tickets import AdmissionPolicy, CheckIn, Ticket, TicketStatus, TicketType

PURCHASE = uuid.UUID(int=100)
MEMBER = replace(TICKET, ticket_type=TicketType.GROUP, purchase_id=PURCHASE)
SCAN_ID = uuid.UUID(int=50)


def group(size: int) -> list[Ticket]:
    return [replace(MEMBER, ticket_id=uuid.UUID(int=10 + number)) for number in range(size)]


def scan(
    tickets: list[Ticket], count: int, *, scanned: int = 0, gate: Gate | None = None, **event: Any
) -> GroupDecision:
    ticket = tickets[scanned]
    presented = PresentedTicket(ticket, ticket.issue, ticket.ticket_type, by_token=True)
    check_in = CheckIn(SCAN_ID, NOON, "North")
    return decide_group(
        replace(EVENT, **event), gate or Gate(HERE, "North"), presented, check_in, others=reversed(tickets), count=count
    )


def ids(tickets: list[Ticket]) -> tuple[uuid.UUID, ...]:
    return tuple(ticket.ticket_id for ticket in tickets)


def test_the_scanned_ticket_and_the_first_free_ones_are_admitted():
    tickets = group(8)
    decided = scan(tickets, 5, scanned=6)
    assert decided.decision.reason is None
    assert decided.group == GroupAdmission(5, ids([tickets[6], *tickets[:4]]), left=3, inside=5, size=8)
    states = [decided.decision.admission, *(admission for _, admission in decided.further)]
    latest = [state.latest_check_in for state in states if state is not None and state.inside]
    assert [check_in and check_in.scan_id for check_in in latest] == [group_scan_id(SCAN_ID, n) for n in range(5)]


def test_a_group_of_the_whole_purchase_and_of_one_is_admitted():
    tickets = group(3)
    assert scan(tickets, 3).group == GroupAdmission(3, ids(tickets), left=0, inside=3, size=3)
    assert scan(tickets, 1, scanned=1).group == GroupAdmission(1, ids(tickets[1:2]), left=2, inside=1, size=3)


def test_too_small_a_group_admits_nobody_and_says_how_many_are_left():
    tickets = group(8)
    tickets[0] = replace(tickets[0], status=TicketStatus.CANCELLED)
    tickets[1] = replace(tickets[1], status=TicketStatus.BLOCKED)
    tickets[2] = replace(tickets[2], admission=INSIDE)
    tickets[3] = replace(tickets[3], valid_from_time=NOON.replace(hour=13))
    decided = scan(tickets, 5, scanned=7)
    assert (decided.decision.reason, list(decided.further)) == (DenialReason.GROUP_TOO_SMALL, [])
    assert decided.group == GroupAdmission(5, (), left=4, inside=1, size=6)
    again = scan(tickets, 4, scanned=7)
    assert again.group == GroupAdmission(4, ids([tickets[7], *tickets[4:7]]), left=0, inside=5, size=6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"admission": INSIDE}, DenialReason.ALREADY_CHECKED_IN),
        ({"status": TicketStatus.BLOCKED}, DenialReason.BLOCKED),
        ({"status": TicketStatus.REFUNDED}, DenialReason.REFUNDED),
    ],
)
def test_a_scanned_ticket_that_is_denied_admits_no_other(change, reason):
    tickets = group(4)
    tickets[0] = replace(tickets[0], **change)
    decided = scan(tickets, 2)
    assert (decided.decision.reason, list(decided.further)) == (reason, [])
    assert (decided.group.ticket_ids, decided.group.left) == ((), 3)


def test_other_types_are_no_group():
    tickets = [replace(ticket, ticket_type=TicketType.STANDARD) for ticket in group(3)]
    decided = scan(tickets, 1)
    assert (decided.decision.reason, decided.group) == (DenialReason.NOT_A_GROUP, GroupAdmission(1))


def test_tickets_of_other_types_purchases_and_events_are_not_taken():
    tickets = group(4)
    tickets[1] = replace(tickets[1], ticket_type=TicketType.VIP)
    tickets[2] = replace(tickets[2], purchase_id=uuid.UUID(int=101))
    tickets[3] = replace(tickets[3], event_id=uuid.UUID(int=2))
    assert scan(tickets, 2).group == GroupAdmission(2, (), left=1, inside=0, size=1)


def test_a_ticket_whose_purchase_is_unknown_is_a_group_of_one():
    tickets = [replace(ticket, purchase_id=None) for ticket in group(2)]
    assert scan(tickets, 2).group == GroupAdmission(2, (), left=1, inside=0, size=1)
    assert scan(tickets, 1).decision.reason is None


def test_a_gate_for_other_types_and_another_event_admit_no_group():
    vip = Gate(HERE, "North", frozenset({TicketType.VIP}))
    assert scan(group(2), 2, gate=vip).decision.reason is DenialReason.TICKET_TYPE_NOT_ALLOWED
    elsewhere = scan(group(2), 2, gate=Gate(uuid.UUID(int=2), "North"))
    assert (elsewhere.decision.reason, elsewhere.group) == (DenialReason.WRONG_EVENT, GroupAdmission(2))


def states(*admissions):
    return [replace(ticket, admission=state) for ticket, state in zip(group(4), admissions, strict=True)]


NEW = MEMBER.admission


@pytest.mark.parametrize(
    ("event", "left"),
    [
        ({}, 1),
        ({"policy": AdmissionPolicy.RE_ENTRY}, 2),
        ({"policy": AdmissionPolicy.RE_ENTRY, "day_change_hour": 10}, 3),
        (DAILY, 2),
        ({"policy": AdmissionPolicy.UNLIMITED}, 4),
    ],
)
def test_the_policy_says_who_is_not_in_yet(event, left):
    tickets = states(NEW, INSIDE, OUTSIDE, INSIDE_SINCE_YESTERDAY)
    decided = scan(tickets, 5, **event)
    assert (decided.decision.reason, decided.group.left) == (DenialReason.GROUP_TOO_SMALL, left)
    assert scan(tickets, left, **event).decision.reason is None


def test_unlimited_takes_tickets_outside_before_those_inside():
    tickets = states(NEW, INSIDE, OUTSIDE, NEW)
    decided = scan(tickets, 3, policy=AdmissionPolicy.UNLIMITED)
    assert decided.group == GroupAdmission(3, ids([tickets[0], tickets[2], tickets[3]]), left=4, inside=4, size=4)
