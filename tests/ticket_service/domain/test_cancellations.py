from datetime import timedelta

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.cancellations import (
    SWEEPER_DELAY,
    Cancellation,
    CancellationStatus,
    record_refund,
    request,
    settle,
)
from ticket_service.domain.events import AdmissionPolicy
from ticket_service.domain.refusals import ticket_checked_in
from ticket_service.domain.revocations import Outcome
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id


def pending(price: int = 2_500) -> Cancellation:
    return request(make_sold(make_event(), price=price), new_id(), "ill", NOW)


def test_a_request_fixes_the_refund_and_gives_a_head_start():
    sold = make_sold(make_event(starts_in=timedelta(days=5)), price=999)
    cancellation = request(sold, new_id(), "ill", NOW)
    assert (cancellation.refund_amount, cancellation.refund_percent, cancellation.currency) == (500, 50, "EUR")
    assert cancellation.status is CancellationStatus.PENDING
    assert cancellation.due_time == NOW + SWEEPER_DELAY
    assert cancellation.issue == 1


@pytest.mark.parametrize("policy", AdmissionPolicy)
def test_a_checked_in_ticket_is_not_cancelled_under_any_policy(policy):
    sold = make_sold(make_event(admission_policy=policy), check_in_time=NOW)
    with pytest.raises(Failure) as caught:
        request(sold, new_id(), "", NOW)
    assert caught.value.reason == "TICKET_CHECKED_IN"
    assert caught.value.metadata == {"ticket_id": str(sold.ticket.ticket_id), "check_in_time": NOW.isoformat()}


def test_a_check_in_at_an_unknown_time_is_refused_without_it():
    assert "check_in_time" not in ticket_checked_in(new_id(), None).metadata


@pytest.mark.parametrize("status", [TicketStatus.BLOCKED, TicketStatus.CANCELLED, TicketStatus.REFUNDED])
def test_a_ticket_that_is_not_active_is_not_cancelled(status):
    with pytest.raises(Failure) as caught:
        request(make_sold(make_event(), status=status), new_id(), "", NOW)
    assert caught.value.reason == "TICKET_NOT_CANCELLABLE"
    assert caught.value.metadata["status"] == status


def test_an_expired_ticket_is_not_cancelled():
    sold = make_sold(make_event())
    with pytest.raises(Failure) as caught:
        request(sold, new_id(), "", sold.event.end_time + timedelta(seconds=1))
    assert caught.value.metadata["status"] == "EXPIRED"


def test_a_revoked_ticket_with_a_refund_waits_for_the_refund():
    settlement = settle(pending(), Outcome(revoked=True), NOW)
    assert settlement.status is CancellationStatus.REFUNDING
    assert settlement.complete_time is None
    assert settlement.due_time is None
    assert settlement.ticket_status is TicketStatus.REFUNDED


def test_a_revoked_ticket_without_a_refund_is_done():
    settlement = settle(pending(price=0), Outcome(revoked=True), NOW)
    assert settlement.status is CancellationStatus.DONE
    assert settlement.complete_time == NOW
    assert settlement.ticket_status is TicketStatus.CANCELLED


def test_a_cancellation_after_a_check_in_is_rejected_with_its_time():
    settlement = settle(pending(), Outcome(revoked=False, check_in_time=NOW), NOW + timedelta(seconds=1))
    assert settlement.status is CancellationStatus.REJECTED
    assert settlement.check_in_time == NOW
    assert settlement.complete_time == NOW + timedelta(seconds=1)


def test_a_refund_is_confirmed_once_and_again_by_the_same_id_only():
    done = record_refund(settle(pending(), Outcome(revoked=True), NOW), "refund-1", NOW)
    assert done.status is CancellationStatus.DONE
    assert done.complete_time == NOW
    assert record_refund(done, "refund-1", NOW + timedelta(days=1)) == done
    with pytest.raises(Failure) as caught:
        record_refund(done, "refund-2", NOW)
    assert caught.value.metadata == {"from": "DONE", "to": "DONE", "instead": "NOTHING"}


def test_no_refund_is_confirmed_before_the_ticket_is_revoked():
    with pytest.raises(Failure) as caught:
        record_refund(pending(), "refund-1", NOW)
    assert caught.value.metadata == {"from": "PENDING", "to": "DONE", "instead": "WAIT"}
