"""Tests of reissues, transfers and blocks."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.cancellations import SWEEPER_DELAY
from ticket_service.domain.reissues import (
    ReissueRequest,
    ReissueStatus,
    apply_reissue,
    rejection,
    request,
    set_blocked,
    settle,
)
from ticket_service.domain.revocations import Outcome
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

SOLD = make_sold(make_event(), issue=4)
REISSUE = ReissueRequest("alice", new_id(), SOLD.ticket.ticket_id)
TRANSFER = replace(REISSUE, user_id="bob", email="bob@example.com")
LATER = NOW + timedelta(minutes=1)


def refused(wanted: ReissueRequest, **changes: Any) -> str:
    ticket = {name: value for name, value in changes.items() if name != "cancellation_id"}
    sold = replace(make_sold(SOLD.event, **ticket), cancellation_id=changes.get("cancellation_id"))
    with pytest.raises(Failure) as caught:
        request(sold, wanted, new_id(), NOW)
    return caught.value.reason


def test_a_reissue_takes_the_next_issue_of_the_ticket():
    made = request(SOLD, TRANSFER, new_id(), NOW)
    assert (made.issue, made.status, made.user_id) == (5, ReissueStatus.PENDING, "bob")
    assert made.due_time == NOW + SWEEPER_DELAY


@pytest.mark.parametrize("status", ["CANCELLED", "REFUNDED", "BLOCKED"])
def test_only_a_valid_ticket_is_reissued(status):
    assert refused(REISSUE, status=TicketStatus(status)) == "TICKET_NOT_ACTIVE"


def test_a_ticket_that_is_being_cancelled_is_not_reissued():
    assert refused(REISSUE, cancellation_id=new_id()) == "CANCELLATION_PENDING"
    # The cancellation has ended: the status is the reason.
    assert refused(REISSUE, cancellation_id=new_id(), status=TicketStatus.CANCELLED) == "TICKET_NOT_ACTIVE"


def test_a_used_ticket_is_reissued_but_not_transferred():
    used = make_sold(SOLD.event, check_in_time=NOW)
    assert used.status_at(NOW) is TicketStatus.USED
    assert request(used, REISSUE, new_id(), NOW).revocation.even_if_checked_in
    assert not request(SOLD, TRANSFER, new_id(), NOW).revocation.even_if_checked_in
    assert refused(TRANSFER, check_in_time=NOW) == "TICKET_CHECKED_IN"


def test_a_revoked_older_issue_makes_the_reissue_done():
    done = settle(request(SOLD, TRANSFER, new_id(), NOW), SOLD.ticket, Outcome(revoked=True), LATER)
    assert (done.status, done.complete_time, done.due_time) == (ReissueStatus.DONE, LATER, None)
    ticket = apply_reissue(SOLD.ticket, done, 9, LATER)
    assert ticket == replace(SOLD.ticket, issue=5, user_id="bob", revision=9, update_time=LATER)
    kept = apply_reissue(SOLD.ticket, replace(done, user_id=None), 9, LATER)
    assert kept.user_id == SOLD.ticket.user_id
    # The recipient was erased meanwhile.
    assert apply_reissue(SOLD.ticket, replace(done, user_id=""), 9, LATER).user_id == ""


@pytest.mark.parametrize("status", ["CANCELLED", "REFUNDED"])
def test_a_reissue_of_a_ticket_cancelled_meanwhile_is_rejected(status):
    cancelled = replace(SOLD.ticket, status=TicketStatus(status))
    rejected = settle(request(SOLD, REISSUE, new_id(), NOW), cancelled, Outcome(revoked=True), LATER)
    assert (rejected.status, rejected.complete_time) == (ReissueStatus.REJECTED, LATER)
    assert rejection(rejected, cancelled).reason == "TICKET_NOT_ACTIVE"


def test_a_transfer_after_a_check_in_is_rejected_with_its_time():
    outcome = Outcome(revoked=False, check_in_time=NOW)
    rejected = settle(request(SOLD, TRANSFER, new_id(), NOW), SOLD.ticket, outcome, LATER)
    assert (rejected.status, rejected.check_in_time) == (ReissueStatus.REJECTED, NOW)
    failure = rejection(rejected, SOLD.ticket)
    assert (failure.reason, failure.metadata["check_in_time"]) == ("TICKET_CHECKED_IN", NOW.isoformat())


def test_a_ticket_is_blocked_and_active_again_with_a_new_revision():
    blocked = set_blocked(SOLD.ticket, 9, LATER, blocked=True)
    assert blocked == replace(SOLD.ticket, status=TicketStatus.BLOCKED, revision=9, update_time=LATER)
    assert set_blocked(blocked, 10, LATER, blocked=True) is blocked
    assert set_blocked(blocked, 10, LATER, blocked=False).status is TicketStatus.ACTIVE
    assert set_blocked(SOLD.ticket, 9, LATER, blocked=False) is SOLD.ticket


@pytest.mark.parametrize("status", ["CANCELLED", "REFUNDED"])
@pytest.mark.parametrize("blocked", [True, False])
def test_a_cancelled_ticket_is_neither_blocked_nor_active_again(status, blocked):
    with pytest.raises(Failure) as caught:
        set_blocked(replace(SOLD.ticket, status=TicketStatus(status)), 9, LATER, blocked=blocked)
    assert caught.value.reason == "TICKET_NOT_ACTIVE"
