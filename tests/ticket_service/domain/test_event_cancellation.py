"""Tests of the progress of the cancellation of an event."""

from dataclasses import replace
from datetime import timedelta

from tests.selling.rows import NOW
from ticket_service.domain.cancellations import SWEEPER_DELAY, CancellationStatus
from ticket_service.domain.event_cancellation import (
    OpenTicket,
    advance,
    begin,
    cancellation_of,
    claim,
    confirm_closed_gates,
    reopen,
    tickets_to_cancel,
)
from ticket_service.domain.refund_policy import RefundBasis
from ticketing.chassis.ids import new_id

BEGUN = begin(new_id(), "storm", NOW)
LATER = NOW + timedelta(hours=1)
TICKETS = [OpenTicket(new_id(), 2, 2_500, None) for _ in range(3)]


def test_the_sweeper_tries_after_the_callers_own_try():
    assert (BEGUN.due_time, BEGUN.attempts) == (NOW + SWEEPER_DELAY, 0)
    tried = claim(claim(BEGUN, NOW, 20), LATER, 20)
    assert (tried.attempts, tried.due_time) == (2, LATER + timedelta(seconds=20))


def test_the_tickets_are_due_once_the_gates_are_closed():
    closed = confirm_closed_gates(claim(BEGUN, NOW, 20), LATER)
    assert (closed.gates_closed_time, closed.due_time, closed.attempts) == (LATER, LATER, 0)


def test_batches_advance_by_their_last_ticket_until_one_is_empty():
    after = advance(BEGUN, TICKETS, LATER)
    assert (after.after_ticket_id, after.due_time, after.complete_time) == (TICKETS[-1].ticket_id, LATER, None)
    ended = advance(after, [], LATER)
    assert (ended.complete_time, ended.due_time) == (LATER, None)
    again = reopen(replace(ended, attempts=3), LATER)
    assert (again.after_ticket_id, again.complete_time, again.due_time, again.attempts) == (None, None, LATER, 0)
    assert reopen(after, LATER) is after


def test_open_tickets_without_a_check_in_are_cancelled():
    inside = replace(TICKETS[0], check_in_time=NOW)
    assert tickets_to_cancel([inside, *TICKETS[1:]], {TICKETS[1].ticket_id}) == [TICKETS[2]]


def test_a_cancelled_event_refunds_what_is_left_of_the_price():
    made = cancellation_of(BEGUN, TICKETS[0], new_id(), "EUR", LATER)
    assert (made.refund_amount, made.refund_percent, made.refund_basis) == (2_500, 100, RefundBasis.EVENT_CANCELLED)
    assert (made.status, made.reason, made.issue) == (CancellationStatus.PENDING, "storm", 2)
    assert made.due_time == LATER + SWEEPER_DELAY
