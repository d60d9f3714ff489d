from dataclasses import replace

import pytest

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
    incident,
    refund_settled,
)
from ticketing.chassis.ids import new_id

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
    notification = cancellation_settled(replace(CANCELLATION, status=status), is_ordered=False)
    assert [one.kind for one in notification] == kinds
    assert all(one.data["minor_units"] == 500 for one in notification)


def test_a_settled_refund_notifies_of_its_id_or_failure():
    [made] = refund_settled(replace(CANCELLATION, status=CancellationStatus.DONE, refund_id="re-1"))
    assert (made.kind, made.data["refund_id"]) == (Kind.REFUND_MADE, "re-1")
    [failed] = refund_settled(replace(CANCELLATION, status=CancellationStatus.REFUND_FAILED, failure="card closed"))
    assert (failed.kind, failed.data["failure"]) == (Kind.REFUND_FAILED, "card closed")


def test_holders_are_notified_of_changes_that_concern_them_only():
    before = make_event()
    moved = replace(before, location="Garden", name="Party", description="Loud", version=3)
    [notification] = event_changed(before, moved)
    assert notification.data == {"changed": ["name", "location"], "version": 3}
    assert notification.purchase_id is None
    assert event_changed(before, replace(before, description="Loud")) == []
    draft = replace(before, status=EventStatus.DRAFT)
    assert event_changed(draft, replace(draft, name="Party")) == []


def test_a_check_in_notifies_and_an_annulled_one_does_not():
    came, gone = (CheckIn(new_id(), new_id(), time, 1) for time in (NOW, None))
    [notification] = checked_in([came, gone])
    assert (notification.kind, notification.ticket_id) == (Kind.TICKET_CHECKED_IN, came.ticket_id)
    assert notification.data == {"check_in_time": NOW.isoformat()}


def test_an_incident_notifies_under_its_own_id():
    report = Incident(new_id(), new_id(), "DOUBLE_ADMISSION", new_id(), NOW, 2, "North 3")
    notification = incident(report)
    assert (notification.kind, notification.notification_id, notification.ticket_id) == (Kind.INCIDENT, report.incident_id, report.ticket_id)
    assert notification.data == {
        "incident_id": str(report.incident_id),
        "kind": "DOUBLE_ADMISSION",
        "create_time": NOW.isoformat(),
        "scan_count": 2,
        "location": "North 3",
    }
