from dataclasses import replace

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.events import EventStatus
from ticket_service.domain.incidents import Incident
from ticket_service.domain.notifications import (
    Kind,
    cancelled,
    checked_in,
    event_changed,
    incident,
    refund_failed,
    refunded,
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
def test_what_was_given_back_is_told_with_the_refund_that_is_due(status, kinds):
    told = cancelled(replace(CANCELLATION, status=status))
    assert [one.kind for one in told] == kinds
    assert all(one.data["minor_units"] == 500 for one in told)


def test_a_refund_that_was_made_or_refused_says_as_what_or_why():
    assert refunded(replace(CANCELLATION, refund_id="re-1")).data["refund_id"] == "re-1"
    assert refund_failed(replace(CANCELLATION, failure="card closed")).data["failure"] == "card closed"


def test_holders_are_told_what_concerns_them_of_a_change_and_nothing_else():
    before = make_event()
    moved = replace(before, location="Garden", name="Party", description="Loud", version=3)
    [told] = event_changed(before, moved)
    assert told.data == {"changed": ["name", "location"], "version": 3}
    assert told.purchase_id is None
    assert event_changed(before, replace(before, description="Loud")) == []
    draft = replace(before, status=EventStatus.DRAFT)
    assert event_changed(draft, replace(draft, name="Party")) == []


def test_who_came_in_is_told_and_not_who_did_not():
    came, gone = (CheckIn(new_id(), new_id(), time, 1) for time in (NOW, None))
    [told] = checked_in([came, gone])
    assert (told.kind, told.ticket_id) == (Kind.TICKET_CHECKED_IN, came.ticket_id)
    assert told.data == {"check_in_time": NOW.isoformat()}


def test_an_incident_is_told_under_its_own_id():
    report = Incident(new_id(), new_id(), "DOUBLE_ADMISSION", new_id(), NOW, 2, "North 3")
    told = incident(report)
    assert (told.kind, told.notification_id, told.ticket_id) == (Kind.INCIDENT, report.incident_id, report.ticket_id)
    assert told.data == {
        "incident_id": str(report.incident_id),
        "kind": "DOUBLE_ADMISSION",
        "create_time": NOW.isoformat(),
        "scan_count": 2,
        "location": "North 3",
    }
