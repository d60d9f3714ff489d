import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.environment import ROOT
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.events import EventStatus
from ticket_service.domain.incidents import Incident
from ticket_service.domain.notifications import (
    Kind,
    Notification,
    cancellation_settled,
    checked_in,
    email_corrected,
    event_cancelled,
    event_changed,
    hold_expired,
    incident,
    payment_refund_due,
    payment_refunded,
    purchase_completed,
    refund_ended,
    reissue_settled,
    stream_of,
    ticket_refund_failed,
    ticket_refund_made,
    ticket_refund_requested,
)
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.reissues import Reissue, ReissueStatus
from ticket_service.domain.ticket_refunds import TicketRefund
from ticketing.chassis.ids import new_id

PURCHASE = Purchase(
    purchase_id=new_id(),
    event_id=new_id(),
    user_id="alice",
    items=(),
    currency="EUR",
    total=500,
    status=PurchaseStatus.HELD,
    provider=EXTERNAL,
    payment_id=None,
    metadata={},
    create_time=NOW,
    complete_time=None,
)
CANCELLATION = Cancellation(
    new_id(), new_id(), new_id(), 1, CancellationStatus.PENDING, "EUR", 500, 50, "ill", create_time=NOW
)


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (CancellationStatus.PENDING, []),
        (CancellationStatus.REJECTED, []),
        (CancellationStatus.DONE, [Kind.TICKET_CANCELLED]),
        (CancellationStatus.REFUNDING, [Kind.TICKET_CANCELLED, Kind.REFUND_REQUESTED]),
    ],
)
def test_a_cancellation_notifies_and_requests_the_refund_due(status, kinds):
    notifications = cancellation_settled(replace(CANCELLATION, status=status), is_ordered=False)
    assert [one.kind for one in notifications] == kinds
    assert all(one.data["minor_units"] == 500 for one in notifications)


def test_a_refund_that_this_service_ordered_is_not_requested():
    refunding = replace(CANCELLATION, status=CancellationStatus.REFUNDING)
    assert [one.kind for one in cancellation_settled(refunding, is_ordered=True)] == [Kind.TICKET_CANCELLED]


@pytest.mark.parametrize(("provider", "kinds"), [(EXTERNAL, [Kind.REFUND_REQUESTED]), ("stripe", [])])
def test_the_refund_of_a_late_payment_is_requested_if_external(provider, kinds):
    assert [one.kind for one in payment_refund_due(PURCHASE, "pay-1", provider)] == kinds


@pytest.mark.parametrize("status", PurchaseStatus)
def test_a_purchase_notifies_when_it_completes_or_expires(status):
    purchase = replace(PURCHASE, status=status)
    kinds = [one.kind for one in (*purchase_completed(purchase, ()), *hold_expired(purchase))]
    expected = {PurchaseStatus.COMPLETED: [Kind.PURCHASE_COMPLETED], PurchaseStatus.EXPIRED: [Kind.HOLD_EXPIRED]}
    assert kinds == expected.get(status, [])


def test_a_settled_refund_notifies_of_its_id_or_failure():
    [made] = refund_ended(replace(CANCELLATION, status=CancellationStatus.DONE, refund_id="re-1"))
    assert (made.kind, made.data["refund_id"]) == (Kind.REFUND_MADE, "re-1")
    [failed] = refund_ended(replace(CANCELLATION, status=CancellationStatus.REFUND_FAILED, failure="card closed"))
    assert (failed.kind, failed.data["failure"]) == (Kind.REFUND_FAILED, "card closed")


def test_holders_are_notified_of_changes_that_concern_them_only():
    before = make_event()
    moved = replace(before, location="Garden", name="Party", description="Loud", version=3)
    [notification] = event_changed(before, moved, None)
    assert notification.data == {"changed": ["name", "location"], "version": 3}
    assert notification.purchase_id is None
    assert event_changed(before, replace(before, description="Loud"), None) == []
    draft = replace(before, status=EventStatus.DRAFT)
    assert event_changed(draft, replace(draft, name="Party"), None) == []


def test_the_notification_of_a_move_contains_the_right_to_a_full_refund():
    before = make_event()
    [notification] = event_changed(before, replace(before, start_time=NOW, version=3), NOW)
    assert notification.data == {"changed": ["start_time"], "version": 3, "full_refund_until": NOW.isoformat()}


def test_a_check_in_notifies_and_an_annulled_one_does_not():
    came, gone = (CheckIn(new_id(), new_id(), time, 1) for time in (NOW, None))
    [notification] = checked_in([came, gone])
    assert (notification.kind, notification.ticket_id) == (Kind.TICKET_CHECKED_IN, came.ticket_id)
    assert notification.data == {"check_in_time": NOW.isoformat()}


def test_an_incident_notifies_under_its_own_id():
    report = Incident(new_id(), new_id(), "DOUBLE_ADMISSION", new_id(), NOW, 2, "North 3")
    notification = incident(report)
    assert (notification.kind, notification.notification_id, notification.ticket_id) == (
        Kind.INCIDENT,
        report.incident_id,
        report.ticket_id,
    )
    assert notification.data == {
        "incident_id": str(report.incident_id),
        "kind": "DOUBLE_ADMISSION",
        "create_time": NOW.isoformat(),
        "scan_count": 2,
        "location": "North 3",
    }


EUR_500 = {"currency_code": "EUR", "minor_units": 500}


def about_the_purchase(kind: Kind, data: dict[str, object]) -> list[Notification]:
    return [Notification(PURCHASE.event_id, kind, PURCHASE.purchase_id, user_id="alice", data=data)]


def test_a_purchase_notifies_of_its_tickets_and_its_price():
    tickets = [make_sold(make_event()).ticket for _ in range(2)]
    completed = purchase_completed(replace(PURCHASE, status=PurchaseStatus.COMPLETED), tickets)
    data = {"ticket_ids": [str(ticket.ticket_id) for ticket in tickets], **EUR_500}
    assert completed == about_the_purchase(Kind.PURCHASE_COMPLETED, data)
    assert hold_expired(replace(PURCHASE, status=PurchaseStatus.EXPIRED)) == about_the_purchase(
        Kind.HOLD_EXPIRED, EUR_500
    )


def test_a_late_payment_notifies_of_its_refund_by_ids():
    due = payment_refund_due(PURCHASE, "pay-1", EXTERNAL)
    assert due == about_the_purchase(Kind.REFUND_REQUESTED, {"payment_id": "pay-1", **EUR_500})
    made = payment_refunded(PURCHASE, "re-1")
    assert made == about_the_purchase(Kind.REFUND_MADE, {"refund_id": "re-1", **EUR_500})


def test_a_corrected_address_is_notified_without_the_address():
    event_id, purchase_id, ticket_id = new_id(), new_id(), new_id()
    assert email_corrected(event_id, purchase_id, "alice", ticket_id) == [
        Notification(event_id, Kind.EMAIL_CORRECTED, purchase_id, ticket_id, "alice")
    ]


def test_a_cancellation_notifies_of_its_refund():
    data = {"cancellation_id": str(CANCELLATION.cancellation_id), "refund_percent": 50, **EUR_500}
    refunding = replace(CANCELLATION, status=CancellationStatus.REFUNDING)
    assert cancellation_settled(refunding, is_ordered=False) == [
        Notification(CANCELLATION.event_id, kind, ticket_id=CANCELLATION.ticket_id, data=data)
        for kind in (Kind.TICKET_CANCELLED, Kind.REFUND_REQUESTED)
    ]


@pytest.mark.parametrize("status", [CancellationStatus.PENDING, CancellationStatus.REFUNDING])
def test_a_refund_that_has_not_ended_is_not_notified(status):
    assert refund_ended(replace(CANCELLATION, status=status)) == []


TICKET_REFUND = TicketRefund(
    event_id=new_id(),
    ticket_refund_id=new_id(),
    ticket_id=new_id(),
    purchase_id=new_id(),
    provider=EXTERNAL,
    payment_id="pay-1",
    currency="EUR",
    amount=500,
    reason="seat broken",
    caller="olga",
    create_time=NOW,
)


def about_the_refund(kind: Kind, **data: str) -> list[Notification]:
    its = {"ticket_refund_id": str(TICKET_REFUND.ticket_refund_id), **EUR_500, **data}
    return [Notification(TICKET_REFUND.event_id, kind, ticket_id=TICKET_REFUND.ticket_id, data=its)]


def test_a_refund_without_a_cancellation_is_requested_made_or_failed():
    assert ticket_refund_requested(TICKET_REFUND) == about_the_refund(Kind.REFUND_REQUESTED)
    assert ticket_refund_requested(replace(TICKET_REFUND, provider="stripe")) == []
    made = ticket_refund_made(replace(TICKET_REFUND, refund_id="re-1"))
    assert made == about_the_refund(Kind.REFUND_MADE, refund_id="re-1")
    failed = ticket_refund_failed(TICKET_REFUND, "card closed")
    assert failed == about_the_refund(Kind.REFUND_FAILED, failure="card closed")


REISSUE = Reissue(
    reissue_id=new_id(),
    event_id=new_id(),
    ticket_id=new_id(),
    caller="alice",
    request_id=new_id(),
    issue=3,
    user_id=None,
    email="",
    status=ReissueStatus.DONE,
    create_time=NOW,
)


@pytest.mark.parametrize(
    ("changes", "kind", "data"),
    [
        ({}, Kind.TICKET_REISSUED, {"issue": 3}),
        ({"user_id": "bob"}, Kind.TICKET_TRANSFERRED, {"issue": 3, "previous_user_id": "alice"}),
    ],
)
def test_a_new_issue_notifies_of_the_previous_holder_of_a_transfer(changes, kind, data):
    assert reissue_settled(replace(REISSUE, **changes), "alice") == [
        Notification(REISSUE.event_id, kind, ticket_id=REISSUE.ticket_id, data=data)
    ]


@pytest.mark.parametrize("status", [status for status in ReissueStatus if status is not ReissueStatus.DONE])
def test_an_issue_that_was_not_made_is_not_notified(status):
    assert reissue_settled(replace(REISSUE, status=status), "alice") == []


def test_a_cancelled_event_is_notified_with_its_reason():
    event = make_event(version=4)
    data = {"reason": "storm", "version": 4}
    assert event_cancelled(event, "storm") == [Notification(event.event_id, Kind.EVENT_CANCELLED, data=data)]


@pytest.mark.parametrize("field", ["name", "end_time", "doors_open_time", "time_zone", "location", "is_online"])
def test_each_field_that_concerns_holders_is_notified(field):
    before = make_event()
    values = {"is_online": True, "name": "Party", "time_zone": "Europe/Paris", "location": "Park"}
    change: dict[str, Any] = {field: values.get(field, NOW)}
    [notification] = event_changed(before, replace(before, **change), None)
    assert (notification.kind, notification.data["changed"]) == (Kind.EVENT_CHANGED, [field])


def test_a_notification_is_in_order_with_those_of_its_purchase():
    event_id, purchase_id, other, own = (new_id() for _ in range(4))
    of_purchase = Notification(event_id, Kind.TICKET_CANCELLED, purchase_id)
    of_event = Notification(event_id, Kind.EVENT_CHANGED)
    assert stream_of(of_purchase, own) == purchase_id
    assert stream_of(of_purchase, own, other) == purchase_id
    assert stream_of(of_event, own, other) == other
    assert stream_of(of_event, own) == event_id
    # An incident about no sold ticket waits for no other notification.
    assert stream_of(Notification(event_id, Kind.INCIDENT), own) == own
    assert stream_of(Notification(event_id, Kind.INCIDENT, purchase_id), own) == purchase_id


def kinds(tree: ast.AST) -> Iterator[ast.Name]:
    """Yield the uses of `Kind` outside comparisons and the keys of tables, which only read a kind."""
    read = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if key]
    only_read = {id(name) for node in (*read, *keys) for name in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "Kind" and id(node) not in only_read:
            yield node


def test_store_and_use_cases_choose_no_kind_of_notification():
    """The domain decides which notifications an action causes; the store inserts them."""
    chosen = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for layer in ("store", "use_cases")
        for path in sorted((ROOT / "ticket_service" / layer).rglob("*.py"))
        for node in kinds(ast.parse(path.read_text()))
    ]
    assert chosen == []
