"""A finding of the reconciler notifies the organizer of the money and the ids that it concerns, once."""

from dataclasses import replace

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.disputes import Dispute, DisputeStatus, change
from ticket_service.domain.findings_notified import (
    dispute_changed,
    outside_refund_failed,
    outside_refund_recorded,
    payment_refund_failed,
    payment_unmatched,
)
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.reconciliation import ProviderCharge
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticketing.chassis.ids import new_id

EVENT = make_event()
PURCHASE = Purchase(
    purchase_id=new_id(),
    event_id=EVENT.event_id,
    user_id="alice",
    items=(),
    currency="EUR",
    total=5_000,
    status=PurchaseStatus.COMPLETED,
    provider="stripe",
    payment_id="pi_1",
    metadata={},
    create_time=NOW,
    complete_time=NOW,
)
OUTSIDE = OutsideRefund(
    EVENT.event_id, "stripe", "re_9", PURCHASE.purchase_id, "pi_1", OutsideRefundKind.REFUND, "EUR", 1_000, NOW
)
DISPUTE = Dispute(
    event_id=EVENT.event_id,
    dispute_id=new_id(),
    provider="stripe",
    provider_id="dp_1",
    purchase_id=PURCHASE.purchase_id,
    payment_id="pi_1",
    currency="EUR",
    amount=5_000,
    status=DisputeStatus.OPEN,
    reason="fraudulent",
    create_time=NOW,
    update_time=NOW,
)
OUTSIDE_DATA = {"refund_id": "re_9", "payment_id": "pi_1", "currency_code": "EUR", "minor_units": 1_000}


def about_the_purchase(kind: Kind, data: dict[str, object]) -> list[Notification]:
    return [Notification(EVENT.event_id, kind, PURCHASE.purchase_id, user_id="alice", data=data)]


@pytest.mark.parametrize(("failure", "sent"), [("card closed", "card closed"), (None, "")])
def test_a_refused_refund_of_a_payment_names_what_is_left_to_refund(failure, sent):
    order = RefundOrder(
        *(EVENT.event_id, new_id(), PURCHASE.purchase_id, None, "stripe", "pi_1", "EUR", 5_000, NOW, NOW),
        status=RefundOrderStatus.FAILED,
        failure=failure,
        credited=2_000,
    )
    data = {"payment_id": "pi_1", "failure": sent, "currency_code": "EUR", "minor_units": 3_000}
    assert payment_refund_failed(PURCHASE, order) == about_the_purchase(Kind.REFUND_FAILED, data)


def test_a_refund_outside_of_the_service_is_notified():
    assert outside_refund_recorded(PURCHASE, OUTSIDE) == about_the_purchase(Kind.REFUND_RECORDED, OUTSIDE_DATA)


def test_the_money_of_a_lost_dispute_is_notified_with_the_dispute_alone():
    assert outside_refund_recorded(PURCHASE, replace(OUTSIDE, kind=OutsideRefundKind.DISPUTE)) == []


def test_a_refund_outside_that_failed_later_names_the_failure():
    failed = outside_refund_failed(PURCHASE, OUTSIDE, "card closed")
    assert failed == about_the_purchase(Kind.REFUND_FAILED, {"failure": "card closed", **OUTSIDE_DATA})


def test_a_payment_without_a_purchase_is_notified_to_the_event():
    charge = ProviderCharge("pi_7", "lost-purchase", "EUR", 2_500)
    data = {"payment_id": "pi_7", "paid_purchase_id": "lost-purchase", "currency_code": "EUR", "minor_units": 2_500}
    assert payment_unmatched(EVENT, charge) == [Notification(EVENT.event_id, Kind.PAYMENT_UNMATCHED, data=data)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (DisputeStatus.INQUIRY, Kind.DISPUTE_OPENED),
        (DisputeStatus.OPEN, Kind.DISPUTE_OPENED),
        (DisputeStatus.WON, Kind.DISPUTE_CLOSED),
        (DisputeStatus.LOST, Kind.DISPUTE_CLOSED),
        (DisputeStatus.CLOSED, Kind.DISPUTE_CLOSED),
    ],
)
def test_a_dispute_is_notified_when_it_opens_and_when_it_ends(status, kind):
    data = {
        "dispute_id": str(DISPUTE.dispute_id),
        "payment_id": "pi_1",
        "status": status.value,
        "reason": "fraudulent",
        "currency_code": "EUR",
        "minor_units": 5_000,
    }
    assert dispute_changed(PURCHASE, None, replace(DISPUTE, status=status)) == about_the_purchase(kind, data)


def test_an_inquiry_that_becomes_a_dispute_is_notified_again():
    inquiry = replace(DISPUTE, status=DisputeStatus.INQUIRY)
    [notification] = dispute_changed(PURCHASE, inquiry, DISPUTE)
    assert (notification.kind, notification.data["status"]) == (Kind.DISPUTE_OPENED, "OPEN")


def test_another_amount_of_a_dispute_is_not_notified():
    assert dispute_changed(PURCHASE, DISPUTE, change(DISPUTE, DisputeStatus.OPEN, 4_000, NOW)) == []
