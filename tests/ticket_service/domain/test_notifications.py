import ast
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.environment import ROOT
from tests.selling.rows import NOW, make_event
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.events import EventStatus
from ticket_service.domain.incidents import Incident
from ticket_service.domain.notifications import (
    Kind,
    cancellation_settled,
    checked_in,
    event_changed,
    hold_expired,
    incident,
    payment_refund_due,
    purchase_completed,
    refund_ended,
)
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
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
