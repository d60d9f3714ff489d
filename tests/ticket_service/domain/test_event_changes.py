from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.event_changes import (
    EventValues,
    FieldConflict,
    cancel_event,
    change_event,
    check_changeable,
    check_etag,
    check_permitted,
    find_conflicts,
    merge_values,
    publish_event,
)
from ticket_service.domain.events import AdmissionPolicy, EventStatus, Offer, TicketType
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failures import Failure

LEAST = timedelta(microseconds=1)
DAYS_30 = timedelta(days=30)
LATER = NOW + timedelta(hours=1)
STANDARD = Offer(TicketType.STANDARD, 1_000, reserved=2)


def test_publishing_a_draft_takes_a_version_and_a_revision():
    draft = make_event(status=EventStatus.DRAFT, version=1, revision=7, changed_revision=3)
    after = publish_event(draft, LATER)
    assert after == replace(
        draft, status=EventStatus.PUBLISHED, version=2, revision=8, changed_revision=8, update_time=LATER
    )


def test_publishing_a_published_event_changes_nothing():
    event = make_event()
    assert publish_event(event, LATER) is event


@pytest.mark.parametrize(
    ("event", "status"),
    [(make_event(status=EventStatus.CANCELLED), "CANCELLED"), (make_event(starts_in=timedelta(days=-1)), "COMPLETED")],
)
def test_a_cancelled_or_completed_event_is_not_published(event, status):
    with pytest.raises(Failure) as caught:
        publish_event(event, NOW)
    assert caught.value.reason == "ILLEGAL_TRANSITION"
    assert caught.value.metadata == {"from": status, "to": "PUBLISHED"}


@pytest.mark.parametrize("status", [EventStatus.CANCELLED, EventStatus.COMPLETED])
def test_a_cancelled_or_completed_event_does_not_change(status):
    over = timedelta(days=-1) if status is EventStatus.COMPLETED else timedelta(days=1)
    stored = EventStatus.PUBLISHED if status is EventStatus.COMPLETED else status
    with pytest.raises(Failure) as caught:
        check_changeable(make_event(starts_in=over, status=stored), ["location", "name"], NOW, DAYS_30)
    assert (caught.value.reason, caught.value.metadata["field"]) == ("EVENT_NOT_CHANGEABLE", "location")


def test_the_times_of_an_ended_event_are_corrected_for_some_time():
    event = make_event(starts_in=timedelta(days=-1), create_time=NOW, update_time=NOW - timedelta(days=90))
    end = event.end_time + DAYS_30
    check_changeable(event, ["start_time", "end_time", "doors_open_time", "time_zone"], end - LEAST, DAYS_30)
    for fields, now in [(["end_time"], end), (["end_time", "name"], NOW)]:
        with pytest.raises(Failure) as caught:
            check_changeable(event, fields, now, DAYS_30)
        assert caught.value.metadata["field"] == fields[-1]


def test_an_event_that_an_older_version_ended_long_ago_is_corrected():
    typed = make_event(starts_in=timedelta(days=-900), update_time=NOW - timedelta(days=1))
    check_changeable(typed, ["end_time"], NOW, DAYS_30)
    assert cancel_event(typed, NOW, DAYS_30).status is EventStatus.CANCELLED


@pytest.mark.parametrize(
    ("change", "takes_a_revision"),
    [
        ({"name": "Moved"}, True),
        ({"admission_policy": AdmissionPolicy.UNLIMITED}, True),
        ({"time_zone": "Europe/Paris"}, True),
        ({"day_change_hour": 6}, True),
        ({"start_time": NOW + timedelta(days=10, hours=1)}, True),
        ({"end_time": NOW + timedelta(days=11)}, True),
        ({"doors_open_time": None}, True),
        ({"location": "Park"}, False),
        ({"ticket_price": 1}, False),
        ({"max_participants": 10}, False),
    ],
)
def test_a_change_of_a_field_for_gates_takes_a_revision(change, takes_a_revision):
    event = make_event(revision=5, changed_revision=4)
    after = change_event(event, replace(event, **change), {}, LATER)
    assert (after.version, after.update_time) == (event.version + 1, LATER)
    assert (after.revision, after.changed_revision) == ((6, 6) if takes_a_revision else (5, 4))


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        (EventValues({"start_time": NOW + timedelta(days=20)}), ["event.end_time"]),
        (EventValues({"end_time": NOW}), ["event.end_time"]),
        (EventValues({"start_time": NOW}), ["event.doors_open_time"]),
        (EventValues({"currency": "USD", "ticket_price": 5}), ["event.offers[0].price.currency_code"]),
        (EventValues({"offers": (STANDARD,)}, ("USD",)), ["event.offers[0].price.currency_code"]),
    ],
)
def test_a_value_that_contradicts_a_stored_one_is_refused(values, paths):
    with pytest.raises(Failure) as caught:
        merge_values(make_event(offers=(STANDARD,)), values)
    assert caught.value.reason == "INVALID_ARGUMENT"
    assert [violation.field for violation in caught.value.violations] == paths


def test_values_that_fit_replace_the_stored_ones():
    event = make_event(offers=(STANDARD,))
    values = EventValues({"currency": "USD", "offers": (replace(STANDARD, price=5),)}, ("USD",))
    assert merge_values(event, values) == replace(event, **values.attributes)


def test_a_change_keeps_the_fields_that_organizers_do_not_set():
    event = make_event(reserved=3, offers=(STANDARD,))
    wanted = replace(event, status=EventStatus.DRAFT, reserved=0, version=9, revision=9, organizer_id="mallory")
    assert change_event(event, wanted, {}, LATER) is event


@pytest.mark.parametrize(
    "change", [{"capacity": 2}, {"sales_end_time": NOW}, {"min_per_purchase": 2, "max_per_purchase": 3}]
)
def test_the_terms_of_further_sales_of_a_sold_type_may_change(change):
    event = make_event(reserved=2, offers=(STANDARD,))
    wanted = replace(event, offers=(replace(STANDARD, reserved=0, **change),))
    assert change_event(event, wanted, {}, LATER).offers == (replace(STANDARD, **change),)


@pytest.mark.parametrize(
    "offers",
    [
        (),
        (Offer(TicketType.VIP, 1),),
        (replace(STANDARD, price=999),),
        (replace(STANDARD, valid_from_time=NOW),),
        (replace(STANDARD, valid_until_time=NOW),),
    ],
)
def test_price_and_validity_of_a_sold_type_do_not_change(offers):
    event = make_event(reserved=2, offers=(STANDARD,))
    with pytest.raises(Failure) as caught:
        change_event(event, replace(event, offers=offers), {}, LATER)
    assert (caught.value.reason, caught.value.metadata["field"]) == ("EVENT_NOT_CHANGEABLE", "offers")


def test_an_unsold_offer_may_be_removed():
    event = make_event(offers=(replace(STANDARD, reserved=0),))
    assert change_event(event, replace(event, offers=()), {}, LATER).offers == ()


def test_the_currency_is_fixed_after_a_sale_even_if_cancelled():
    event = make_event()
    assert change_event(event, replace(event, currency="USD"), {}, LATER).currency == "USD"
    with pytest.raises(Failure) as caught:
        change_event(event, replace(event, currency="USD"), {TicketType.VIP: 0}, LATER)
    assert caught.value.metadata["field"] == "ticket_price.currency_code"


def test_cancelling_takes_a_version_and_a_revision_once():
    event = make_event()
    off = cancel_event(event, NOW, DAYS_30)
    assert (off.status, off.version, off.revision, off.changed_revision) == (EventStatus.CANCELLED, 3, 2, 2)
    assert cancel_event(off, NOW + timedelta(days=1), DAYS_30) is off


def test_an_ended_draft_is_not_published():
    draft = make_event(status=EventStatus.DRAFT)
    assert publish_event(draft, draft.end_time - LEAST).status is EventStatus.PUBLISHED
    with pytest.raises(Failure) as caught:
        publish_event(draft, draft.end_time)
    assert caught.value.reason == "EVENT_ENDED"


def test_an_ended_event_is_cancelled_while_it_could_be_corrected():
    event = make_event()
    until = event.end_time + DAYS_30
    assert cancel_event(event, until - LEAST, DAYS_30).status is EventStatus.CANCELLED
    with pytest.raises(Failure) as caught:
        cancel_event(event, until, DAYS_30)
    assert caught.value.reason == "ILLEGAL_TRANSITION"
    assert caught.value.metadata == {"from": "COMPLETED", "to": "CANCELLED"}
    # A draft never took place.
    draft = replace(event, status=EventStatus.DRAFT)
    assert cancel_event(draft, until, DAYS_30).status is EventStatus.CANCELLED


START, END = "event.start_time", "event.end_time"
DOORS = "event.doors_open_time"


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"start_time": NOW, "end_time": NOW}, END),
        ({"start_time": NOW, "end_time": NOW + LEAST}, None),
        ({"start_time": NOW, "doors_open_time": NOW + LEAST}, DOORS),
        ({"start_time": NOW, "doors_open_time": NOW}, None),
        ({"start_time": NOW, "end_time": None, "doors_open_time": None}, None),
        # A value that could not be read proves no conflict.
        ({"end_time": NOW}, None),
        ({"doors_open_time": NOW}, None),
        ({"start_time": NOW}, None),
        ({}, None),
    ],
)
def test_times_of_an_event_follow_each_other(values: dict[str, datetime], path):
    assert [conflict.path for conflict in find_conflicts(EventValues(values))] == ([path] if path else [])


def test_a_conflict_names_the_compared_times():
    values = EventValues({"start_time": NOW, "end_time": NOW, "doors_open_time": NOW + LEAST})
    assert list(find_conflicts(values)) == [
        FieldConflict(END, "is not after start_time", (END, START)),
        FieldConflict(DOORS, "is after start_time", (DOORS, START)),
    ]


def test_an_offer_without_a_price_conflicts_with_no_currency():
    currencies = ("EUR", None, "USD", "CHF")
    paths = [conflict.path for conflict in find_conflicts(EventValues({"currency": "EUR"}, currencies))]
    assert paths == ["event.offers[2].price.currency_code", "event.offers[3].price.currency_code"]
    assert list(find_conflicts(EventValues({}, currencies))) == []


OPERATOR = Caller("oskar", frozenset({Role.OPERATOR, Role.USER}))


def test_an_operator_changes_the_times_and_the_capacity_of_any_event():
    paths = ["start_time", "end_time", "doors_open_time", "time_zone", "location", "is_online", "max_participants"]
    check_permitted(make_event(), paths, OPERATOR)


@pytest.mark.parametrize("path", ["name", "offers", "ticket_price", "refund_tiers", "allow_gate_look_up", "metadata"])
def test_the_promises_of_an_event_are_its_organizers_alone(path):
    with pytest.raises(Failure) as caught:
        check_permitted(make_event(), ["start_time", path], OPERATOR)
    assert caught.value.reason == "FORBIDDEN"
    assert caught.value.metadata == {
        "method": "/ticketing.tickets.v1.EventService/UpdateEvent",
        "role": "operator,user",
    }
    check_permitted(make_event(), [path], Caller("olga", frozenset({Role.ORGANIZER})))


def test_an_operator_with_the_name_of_an_organizer_is_none():
    with pytest.raises(Failure):
        check_permitted(make_event(), ["name"], replace(OPERATOR, subject="olga"))


def test_a_refused_operator_reads_which_fields_were_too_much():
    with pytest.raises(Failure, match=r"offers, ticket_price$"):
        check_permitted(make_event(), ["ticket_price", "start_time", "offers"], OPERATOR)


def test_an_update_of_another_version_is_refused_unless_it_was_made():
    event = make_event(version=3, location="Park", offers=(STANDARD,))
    values = EventValues({"location": "Hall"})
    check_etag(event, "3", values)
    check_etag(event, "", values)
    with pytest.raises(Failure) as caught:
        check_etag(event, "2", values)
    assert (caught.value.reason, caught.value.metadata) == ("ETAG_MISMATCH", {"etag": "3"})
    # The answer of the first try was lost; requests contain no reserved places.
    check_etag(event, "2", EventValues({"location": "Park", "offers": (replace(STANDARD, reserved=0),)}))


def test_a_capacity_is_not_below_the_reserved_places():
    event = make_event(reserved=3)
    assert change_event(event, replace(event, max_participants=3), {}, LATER).max_participants == 3
    with pytest.raises(Failure) as caught:
        change_event(event, replace(event, max_participants=2), {}, LATER)
    assert caught.value.reason == "CAPACITY_BELOW_RESERVED"
    assert caught.value.metadata == {"event_id": str(event.event_id), "reserved": "3"}


def test_the_capacity_of_a_type_is_not_below_its_reserved_places():
    event = make_event(reserved=2, offers=(STANDARD,))
    with pytest.raises(Failure) as caught:
        change_event(event, replace(event, offers=(replace(STANDARD, capacity=1),)), {}, LATER)
    assert caught.value.reason == "CAPACITY_BELOW_RESERVED"
    assert caught.value.metadata == {
        "event_id": str(event.event_id),
        "ticket_type": "STANDARD",
        "reserved": "2",
    }


def test_a_new_offer_counts_the_tickets_sold_before_it():
    event, vip = make_event(reserved=4), Offer(TicketType.VIP, 5_000)
    sold = {TicketType.STANDARD: 4}
    wanted = replace(event, offers=(replace(STANDARD, reserved=0, price=9), vip))
    assert [offer.reserved for offer in change_event(event, wanted, sold, LATER).offers] == [4, 0]
    with pytest.raises(Failure) as caught:
        change_event(event, replace(event, offers=(replace(STANDARD, capacity=3),)), sold, LATER)
    assert caught.value.metadata["reserved"] == "4"


def test_the_promises_of_a_type_may_change_before_its_first_sale():
    unsold = replace(STANDARD, reserved=0)
    event = make_event(offers=(unsold,))
    dearer = replace(unsold, price=9_999, valid_from_time=NOW)
    assert change_event(event, replace(event, offers=(dearer,)), {}, LATER).offers == (dearer,)


def test_a_change_keeps_who_made_the_event_and_when():
    event = make_event(reserved=3, revision=5, changed_revision=4)
    other = make_event(reserved=9, status=EventStatus.DRAFT, organizer_id="mallory", create_time=LATER, revision=80)
    after = change_event(event, replace(other, location="Park", max_participants=None), {}, LATER)
    kept = ("event_id", "organizer_id", "status", "reserved", "create_time")
    assert [getattr(after, name) for name in kept] == [getattr(event, name) for name in kept]
    assert (after.location, after.update_time, after.version) == ("Park", LATER, event.version + 1)


def test_no_field_of_a_cancelled_event_changes_and_any_of_a_future_one():
    check_changeable(make_event(), ["name", "location"], NOW, DAYS_30)
    check_changeable(make_event(status=EventStatus.DRAFT), ["name"], NOW, DAYS_30)
    with pytest.raises(Failure) as caught:
        check_changeable(make_event(status=EventStatus.CANCELLED), ["end_time"], NOW, DAYS_30)
    assert caught.value.metadata["field"] == "end_time"
