from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.event_times import CORRECTABLE, check_changed_times, check_new_times, correctable_until
from ticket_service.domain.events import EventStatus, Offer, TicketType
from ticketing.chassis.failures import Failure

HOUR, DAY, LEAST = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
TEN_YEARS = timedelta(days=3_653)
# The event starts in ten days, its doors open an hour before, and it takes four hours.
EVENT = make_event(reserved=1)
START, END, DOORS = EVENT.start_time, EVENT.end_time, EVENT.admits_from


def vip(**times: Any) -> tuple[Offer, ...]:
    return (Offer(TicketType.VIP, 1_000, **times),)


def faults(call, *arguments) -> set[str]:
    """Return the fields that are refused."""
    try:
        call(*arguments, NOW)
    except Failure as failure:
        if failure.reason == "EVENT_NOT_CHANGEABLE":
            return {failure.metadata["field"]}
        return {violation.field.removeprefix("event.") for violation in failure.violations}
    return set()


PAST: dict[str, Any] = {"start_time": NOW - 2 * DAY, "end_time": NOW - DAY, "doors_open_time": None}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (PAST, "end_time"),
        ({**PAST, "end_time": NOW}, "end_time"),
        ({**PAST, "end_time": NOW + LEAST}, "start_time"),
        ({"start_time": NOW, "doors_open_time": None}, "start_time"),
        ({"start_time": NOW + LEAST, "doors_open_time": None}, None),
        ({"name": "Party"}, None),
    ],
)
def test_a_sold_event_neither_ends_nor_starts_in_the_past(change, field):
    assert faults(check_changed_times, EVENT, replace(EVENT, **change)) == ({field} if field else set())
    assert faults(check_changed_times, replace(EVENT, reserved=0), replace(EVENT, reserved=0, **change)) == set()


def test_the_start_of_an_event_under_way_may_be_corrected():
    running = replace(EVENT, start_time=NOW - HOUR, end_time=NOW + HOUR, doors_open_time=None)
    assert faults(check_changed_times, running, replace(running, start_time=NOW - 2 * HOUR)) == set()
    assert faults(check_changed_times, running, replace(running, end_time=NOW)) == {"end_time"}


def test_an_ended_event_may_be_corrected_to_be_under_way():
    ended = replace(EVENT, **PAST)
    assert faults(check_changed_times, ended, replace(ended, start_time=NOW - HOUR, end_time=NOW + HOUR)) == set()
    assert faults(check_changed_times, ended, replace(ended, end_time=NOW - HOUR)) == {"end_time"}


@pytest.mark.parametrize(
    ("times", "fields"),
    [
        ({"start_time": NOW + TEN_YEARS - HOUR, "end_time": NOW + TEN_YEARS, "doors_open_time": None}, set()),
        ({"end_time": NOW + TEN_YEARS + LEAST}, {"end_time"}),
        (
            {"start_time": NOW + TEN_YEARS + HOUR, "end_time": NOW + TEN_YEARS + DAY, "doors_open_time": None},
            {"start_time", "end_time"},
        ),
        ({"doors_open_time": START - 7 * DAY}, set()),
        ({"doors_open_time": START - 7 * DAY - LEAST}, {"doors_open_time"}),
        # The doors were forgotten.
        ({"start_time": START + 30 * DAY, "end_time": END + 30 * DAY}, {"doors_open_time"}),
        ({"offers": vip(sales_start_time=END - LEAST)}, set()),
        ({"offers": vip(sales_start_time=END)}, {"offers[0].sales_start_time"}),
        ({"offers": vip(valid_from_time=END - LEAST, valid_until_time=END + DAY)}, set()),
        ({"offers": vip(valid_from_time=END, valid_until_time=END + DAY)}, {"offers[0].valid_from_time"}),
        ({"offers": vip(valid_until_time=DOORS + LEAST)}, set()),
        ({"offers": vip(valid_until_time=DOORS)}, {"offers[0].valid_until_time"}),
        ({"offers": vip(valid_until_time=NOW + TEN_YEARS + LEAST)}, {"offers[0].valid_until_time"}),
    ],
)
def test_times_that_can_only_be_mistyped_are_refused(times, fields):
    unsold = replace(EVENT, reserved=0)
    assert faults(check_new_times, replace(unsold, **times)) == fields
    assert faults(check_changed_times, unsold, replace(unsold, **times)) == fields


def test_a_validity_that_has_passed_is_not_set_again():
    running = replace(EVENT, start_time=NOW - 2 * DAY, end_time=NOW + DAY, doors_open_time=None)
    first_day = replace(running, offers=vip(valid_until_time=NOW - DAY))
    assert faults(check_changed_times, running, first_day) == {"offers[0].valid_until_time"}
    cheaper = replace(first_day, offers=(replace(first_day.offers[0], price=1),))
    assert faults(check_changed_times, first_day, cheaper) == set()


def test_an_event_does_not_leave_the_hours_of_its_sold_tickets():
    [offer] = vip(valid_from_time=DOORS, valid_until_time=START + HOUR)
    event = replace(EVENT, offers=(replace(offer, reserved=1),))
    later = replace(event, start_time=START + DAY, end_time=END + DAY, doors_open_time=None)
    assert faults(check_changed_times, event, later) == {"start_time"}
    unsold = replace(EVENT, reserved=0, offers=(offer,))
    later = replace(unsold, start_time=START + DAY, end_time=END + DAY, doors_open_time=None)
    assert faults(check_changed_times, unsold, later) == {"offers[0].valid_until_time"}


def test_stored_times_that_stay_are_not_refused():
    stored = replace(
        EVENT, end_time=NOW + 200 * TEN_YEARS, doors_open_time=START - 30 * DAY, offers=vip(valid_until_time=NOW)
    )
    assert faults(check_changed_times, stored, replace(stored, name="Party")) == set()
    draft = replace(EVENT, status=EventStatus.DRAFT)
    assert faults(check_changed_times, draft, replace(draft, **PAST)) == set()


def test_an_ended_event_is_corrected_by_its_times():
    assert {"start_time", "end_time", "doors_open_time", "time_zone"} == CORRECTABLE
    assert correctable_until(EVENT, DAY) == END + DAY
    assert correctable_until(replace(EVENT, update_time=END + HOUR), DAY) == END + HOUR + DAY


def test_an_offer_is_valid_up_to_ten_years_ahead():
    unsold = replace(EVENT, reserved=0, start_time=START, end_time=NOW + TEN_YEARS)
    assert faults(check_new_times, replace(unsold, offers=vip(valid_until_time=NOW + TEN_YEARS))) == set()


def test_each_unsold_offer_is_checked_and_a_sold_one_is_not():
    wrong = vip(valid_from_time=END, sales_start_time=END)
    offers = (Offer(TicketType.STANDARD, 1), *wrong, *vip(valid_until_time=DOORS))
    unsold = replace(EVENT, reserved=0, offers=offers)
    assert faults(check_new_times, unsold) == {
        "offers[1].valid_from_time",
        "offers[1].sales_start_time",
        "offers[2].valid_until_time",
    }
    sold = replace(EVENT, offers=(replace(wrong[0], reserved=1),))
    assert faults(check_changed_times, replace(EVENT, offers=()), sold) == set()


def test_a_validity_may_be_in_the_past_of_an_ended_event():
    ended = replace(EVENT, **PAST)
    day = vip(valid_until_time=NOW - DAY - HOUR)
    assert faults(check_changed_times, ended, replace(ended, offers=day)) == set()
    running = replace(EVENT, start_time=NOW - 2 * DAY, end_time=NOW + LEAST, doors_open_time=None)
    assert faults(check_changed_times, running, replace(running, offers=vip(valid_until_time=NOW))) == {
        "offers[0].valid_until_time"
    }
    assert faults(check_changed_times, running, replace(running, offers=vip(valid_until_time=NOW + LEAST))) == set()


def test_unsold_offers_are_checked_again_when_the_event_moves():
    stored = replace(EVENT, offers=vip(valid_until_time=DOORS))
    assert faults(check_changed_times, stored, replace(stored, location="Park")) == set()
    moves: list[dict[str, Any]] = [
        {"doors_open_time": DOORS + HOUR},
        {"start_time": START + HOUR},
        {"end_time": END + HOUR},
    ]
    for change in moves:
        assert faults(check_changed_times, stored, replace(stored, **change)) == {"offers[0].valid_until_time"}


@pytest.mark.parametrize(
    ("offer", "change", "field"),
    [
        # The hours of the sold tickets would end when the doors open, or begin when the event ends.
        (
            {"valid_until_time": START + HOUR},
            {"doors_open_time": START + HOUR, "start_time": START + HOUR},
            "start_time",
        ),
        (
            {"valid_until_time": START + HOUR},
            {"doors_open_time": START + HOUR - LEAST, "start_time": START + HOUR},
            None,
        ),
        ({"valid_from_time": END - HOUR}, {"end_time": END - HOUR}, "end_time"),
        ({"valid_from_time": END - HOUR}, {"end_time": END - HOUR + LEAST}, None),
        ({}, {"end_time": END - HOUR}, None),
        # They had no common time before, so the change takes nothing from their holders.
        ({"valid_from_time": END}, {"end_time": END - HOUR}, None),
    ],
)
def test_sold_tickets_keep_some_time_in_common_with_their_event(offer, change, field):
    event = replace(EVENT, offers=(replace(vip(**offer)[0], reserved=1),))
    assert faults(check_changed_times, event, replace(event, **change)) == ({field} if field else set())
