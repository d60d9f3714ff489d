"""The audit trail names changed fields with their values, where those are short and no derived counters."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.changes import Change, ChangeKind, event_change, person_search, ticket_change
from ticket_service.domain.events import EventStatus, Offer, RefundTier, TicketType
from ticketing.chassis.ids import new_id

EVENT = make_event(max_participants=100)


def changed(**changes: object) -> object:
    """Return what the trail records about changed fields of the event."""
    return event_change(EVENT, replace(EVENT, **changes)).details["changed"]  # type: ignore[arg-type] # of any type


def test_a_changed_event_is_recorded_with_its_values():
    after = replace(EVENT, name="Party", start_time=NOW + timedelta(days=3))
    assert event_change(EVENT, after) == Change(
        ChangeKind.EVENT_UPDATED,
        EVENT.event_id,
        details={
            "changed": {
                "name": {"from": "Concert", "to": "Party"},
                "start_time": {"from": "2030-06-11T12:00:00+00:00", "to": "2030-06-04T12:00:00+00:00"},
            }
        },
    )


@pytest.mark.parametrize(
    ("name", "value", "recorded"),
    [
        ("max_participants", None, {"from": "100", "to": ""}),
        ("ticket_price", 0, {"from": "2500", "to": "0"}),
        ("is_online", True, {"from": "False", "to": "True"}),
        ("status", EventStatus.CANCELLED, {"from": "PUBLISHED", "to": "CANCELLED"}),
        ("location", "x" * 201, {"from": "Hall", "to": "x" * 200}),
        # Long texts are named alone.
        ("description", "Quiet", {}),
        ("metadata", {"a": 1}, {}),
        ("offers", (Offer(TicketType.VIP, 1),), {}),
        ("refund_tiers", (RefundTier(1, 10),), {}),
    ],
)
def test_each_field_is_recorded_as_a_short_text_or_by_its_name(name, value, recorded):
    assert changed(**{name: value}) == {name: recorded}


@pytest.mark.parametrize("name", ["revision", "changed_revision", "version", "reserved"])
def test_counters_that_follow_from_other_changes_are_not_recorded(name):
    assert changed(**{name: 99, "update_time": NOW + timedelta(days=1)}) == {}


def test_a_change_of_a_ticket_names_its_event_and_purchase():
    ticket = make_sold(EVENT).ticket
    assert ticket_change(ChangeKind.TICKET_BLOCKED, ticket, reason="stolen") == Change(
        ChangeKind.TICKET_BLOCKED, ticket.event_id, ticket.purchase_id, ticket.ticket_id, {"reason": "stolen"}
    )


def test_a_search_for_a_person_is_recorded_without_its_texts():
    event_id = new_id()
    searched = {"user_id": "alice", "email": "", "address": "alice@example.com"}
    assert person_search("ListTickets", event_id, searched, 3) == Change(
        ChangeKind.PERSON_SEARCHED,
        event_id,
        details={"rpc": "ListTickets", "by": ["address", "user_id"], "results": 3},
    )


def test_a_search_in_all_events_is_recorded_under_no_event():
    recorded = person_search("ListTickets", None, {"email": "a@example.com"}, 0)
    assert recorded is not None
    assert recorded.event_id == UUID(int=0)


@pytest.mark.parametrize("searched", [{}, {"email": "", "user_id": ""}])
def test_a_list_without_a_search_is_not_recorded(searched):
    assert person_search("ListTickets", new_id(), searched, 3) is None
