"""Tests of the organizer to whose events a caller is restricted, and of the trail of changes."""

import uuid
from datetime import UTC, datetime

import pytest

from scan_service.domain.access import may_access
from scan_service.domain.audit_trail import ChangeKind, annulment_change, device_change
from scan_service.domain.devices import Device
from scan_service.domain.refusals import look_up_not_allowed
from tests.scanning.cases import HERE
from tests.scanning.records import TICKET_ID, recorded


@pytest.mark.parametrize(("organizer", "allowed"), [(None, True), ("orga", True), ("olga", False)])
def test_a_caller_accesses_the_events_of_its_organizer(organizer, allowed):
    assert may_access(organizer, "orga") is allowed


def test_an_annulment_is_recorded_with_the_number_of_its_tickets():
    scan = recorded(0)
    one, group = (annulment_change(scan, "orga", tickets) for tickets in (1, 2))
    assert (one.kind, one.event_id, one.ticket_id) == (ChangeKind.SCAN_ANNULLED, HERE, TICKET_ID)
    assert one.details == {"location": "North"}
    assert group.details == {"location": "North", "tickets": 2}


def test_a_change_of_a_device_names_it_and_its_organizer():
    device = Device(uuid.UUID(int=1), "orga", "North", frozenset(), datetime(2030, 6, 1, tzinfo=UTC))
    change = device_change(ChangeKind.DEVICE_REVOKED, device)
    assert (change.kind, change.organizer_id, change.device_id) == (ChangeKind.DEVICE_REVOKED, "orga", device.device_id)


@pytest.mark.parametrize(("cause", "subject"), [("EVENT", "this event"), ("SERVICE", "this service")])
def test_a_refused_look_up_says_what_does_not_allow_it(cause, subject):
    refused = look_up_not_allowed(HERE, cause)
    assert (refused.metadata["cause"], str(refused).startswith(subject)) == (cause, True)
