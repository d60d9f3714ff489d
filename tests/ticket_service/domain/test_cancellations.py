from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.cancellations import (
    SWEEPER_DELAY,
    Cancellation,
    CancellationStatus,
    check_repetition,
    fail_refund,
    record_payment_by_hand,
    record_refund,
    recover_refund,
    request,
    request_again,
    retry_refund,
    settle,
)
from ticket_service.domain.events import AdmissionPolicy
from ticket_service.domain.refund_policy import RefundBasis
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


SOON = make_event(starts_in=timedelta(days=5))


@pytest.mark.parametrize(
    ("amount", "percent", "is_higher"),
    [(500, 50, False), (501, 50, True), (749, 74, True), (999, 100, True)],
)
def test_an_organizer_refunds_at_least_what_the_terms_grant(amount, percent, is_higher):
    sold = make_sold(SOON, price=999)
    granted = request(sold, new_id(), "", NOW)
    wanted = request(sold, new_id(), "", NOW, ("EUR", amount))
    assert (wanted.refund_amount, wanted.refund_percent) == (amount, percent)
    assert wanted.refund_basis == (RefundBasis.CALLER if is_higher else granted.refund_basis)
    for refused in (granted.refund_amount - 1, 1_000):
        with pytest.raises(Failure) as caught:
            request(sold, new_id(), "", NOW, ("EUR", refused))
        assert caught.value.reason == "REFUND_OUT_OF_RANGE"


def test_a_ticket_of_the_smallest_price_is_refunded():
    cancellation = request(make_sold(make_event(), price=1), new_id(), "", NOW, ("EUR", 1))
    assert (cancellation.refund_amount, cancellation.refund_percent) == (1, 100)
    assert cancellation.ticket_status is TicketStatus.REFUNDED
    assert settle(cancellation, Outcome(revoked=True), NOW).status is CancellationStatus.REFUNDING
    assert request(make_sold(SOON, price=1), new_id(), "", NOW, ("EUR", 1)).refund_percent == 100


@pytest.mark.parametrize(
    ("wanted", "is_refused"), [(("EUR", 2_500), False), (("EUR", 2_501), True), (("CHF", 1), True)]
)
def test_a_repetition_may_not_want_a_larger_refund(wanted, is_refused):
    sold, recorded = make_sold(make_event()), pending()
    if not is_refused:
        check_repetition(recorded, sold, wanted)
        return
    with pytest.raises(Failure) as caught:
        check_repetition(recorded, sold, wanted)
    assert caught.value.reason == "TICKET_NOT_CANCELLABLE"


def test_a_rejected_cancellation_is_requested_anew():
    rejected = settle(replace(pending(), attempts=3), Outcome(revoked=False, check_in_time=NOW), NOW)
    again_id, later = new_id(), NOW + timedelta(days=1)
    again = request_again(replace(rejected, check_in_annulled=True), again_id, later)
    assert again == replace(pending_of(rejected), cancellation_id=again_id, create_time=later, due_time=later)


def pending_of(settled: Cancellation) -> Cancellation:
    """Return a settled cancellation as it was requested."""
    changed: dict[str, Any] = {"check_in_time": None, "complete_time": None, "attempts": 0}
    return replace(settled, status=CancellationStatus.PENDING, **changed)


REFUNDING = settle(pending(), Outcome(revoked=True), NOW)
FAILED = fail_refund(REFUNDING, "the card is closed")


def test_a_refused_refund_is_retried_or_paid_by_hand():
    assert (FAILED.status, FAILED.failure, FAILED.complete_time) == (
        *(CancellationStatus.REFUND_FAILED, "the card is closed", None),
    )
    assert retry_refund(FAILED) == REFUNDING
    paid = record_payment_by_hand(FAILED, "transfer 7", NOW)
    assert (paid.status, paid.refund_id, paid.failure) == (CancellationStatus.DONE, "transfer 7", None)
    assert record_payment_by_hand(paid, "transfer 7", NOW) == paid
    assert record_payment_by_hand(REFUNDING, "transfer 7", NOW) == paid
    with pytest.raises(Failure) as caught:
        record_payment_by_hand(pending(), "transfer 7", NOW)
    assert caught.value.metadata["instead"] == "WAIT"
    recovered = recover_refund(FAILED, "re_1", NOW)
    assert (recovered.status, recovered.refund_id, recovered.failure) == (CancellationStatus.DONE, "re_1", None)


def test_the_retry_of_a_refund_in_progress_or_made_changes_nothing():
    done = record_refund(REFUNDING, "re_1", NOW)
    cent = settle(pending(price=1), Outcome(revoked=True), NOW)
    for cancellation in (REFUNDING, done, cent):
        assert retry_refund(cancellation) is cancellation


def test_no_refund_is_retried_where_none_is_due():
    free = settle(pending(price=0), Outcome(revoked=True), NOW)
    rejected = settle(pending(), Outcome(revoked=False, check_in_time=NOW), NOW)
    for cancellation in (free, pending(), rejected):
        with pytest.raises(Failure) as caught:
            retry_refund(cancellation)
        assert caught.value.reason == "ILLEGAL_TRANSITION"
