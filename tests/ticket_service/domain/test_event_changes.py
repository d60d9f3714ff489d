from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.event_changes import (
    EventValues,
    cancelled,
    changed,
    check_changeable,
    merge_values,
    published,
)
from ticket_service.domain.events import AdmissionPolicy, EventStatus, Offer, TicketType
from ticketing.chassis.failures import Failure

LATER = NOW + timedelta(hours=1)
STANDARD = Offer(TicketType.STANDARD, 1_000, reserved=2)


def test_publishing_a_draft_takes_a_version_and_a_revision():
    draft = make_event(status=EventStatus.DRAFT, version=1, revision=7, changed_revision=3)
    after = published(draft, LATER)
    assert after == replace(
        draft, status=EventStatus.PUBLISHED, version=2, revision=8, changed_revision=8, update_time=LATER
    )


def test_a_published_event_is_published_already():
    event = make_event()
    assert published(event, LATER) is event


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (make_event(status=EventStatus.CANCELLED), "CANCELLED"),
        (make_event(starts_in=timedelta(days=-1)), "COMPLETED"),
    ],
)
def test_what_is_called_off_or_over_is_not_published_again(event, status):
    with pytest.raises(Failure) as caught:
        published(event, NOW)
    assert caught.value.reason == "ILLEGAL_TRANSITION"
    assert caught.value.metadata == {"from": status, "to": "PUBLISHED"}


@pytest.mark.parametrize("status", [EventStatus.CANCELLED, EventStatus.COMPLETED])
def test_what_is_called_off_or_over_does_not_change(status):
    over = timedelta(days=-1) if status is EventStatus.COMPLETED else timedelta(days=1)
    stored = EventStatus.PUBLISHED if status is EventStatus.COMPLETED else status
    with pytest.raises(Failure) as caught:
        check_changeable(make_event(starts_in=over, status=stored), ["location", "name"], NOW)
    assert (caught.value.reason, caught.value.metadata["field"]) == ("EVENT_NOT_CHANGEABLE", "location")


@pytest.mark.parametrize(
    ("change", "takes_a_revision"),
    [
        ({"name": "Moved"}, True),
        ({"admission_policy": AdmissionPolicy.UNLIMITED}, True),
        ({"start_time": NOW + timedelta(days=10, hours=1)}, True),
        ({"end_time": NOW + timedelta(days=11)}, True),
        ({"doors_open_time": None}, True),
        ({"location": "Park"}, False),
        ({"ticket_price": 1}, False),
        ({"max_participants": 10}, False),
    ],
)
def test_a_change_takes_a_revision_where_gates_judge_by_it(change, takes_a_revision):
    event = make_event(revision=5, changed_revision=4)
    after = changed(event, replace(event, **change), {}, LATER)
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


def test_a_change_keeps_what_is_not_the_organizers_to_set():
    event = make_event(reserved=3, offers=(STANDARD,))
    wanted = replace(event, status=EventStatus.DRAFT, reserved=0, version=9, revision=9, organizer_id="mallory")
    assert changed(event, wanted, {}, LATER) is event


@pytest.mark.parametrize(
    "change",
    [
        {"capacity": 2},
        {"sales_end_time": NOW},
        {"min_per_purchase": 2, "max_per_purchase": 3},
    ],
)
def test_how_selling_goes_on_may_change_for_a_type_that_was_sold(change):
    event = make_event(reserved=2, offers=(STANDARD,))
    wanted = replace(event, offers=(replace(STANDARD, reserved=0, **change),))
    assert changed(event, wanted, {}, LATER).offers == (replace(STANDARD, **change),)


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
def test_what_buyers_were_promised_does_not_change_for_a_type_that_was_sold(offers):
    event = make_event(reserved=2, offers=(STANDARD,))
    with pytest.raises(Failure) as caught:
        changed(event, replace(event, offers=offers), {}, LATER)
    assert (caught.value.reason, caught.value.metadata["field"]) == ("EVENT_NOT_CHANGEABLE", "offers")


def test_an_offer_nobody_bought_may_go():
    event = make_event(offers=(replace(STANDARD, reserved=0),))
    assert changed(event, replace(event, offers=()), {}, LATER).offers == ()


def test_the_currency_is_fixed_once_anything_was_sold_even_if_it_was_given_back():
    event = make_event()
    assert changed(event, replace(event, currency="USD"), {}, LATER).currency == "USD"
    with pytest.raises(Failure) as caught:
        changed(event, replace(event, currency="USD"), {TicketType.VIP: 0}, LATER)
    assert caught.value.metadata["field"] == "ticket_price.currency_code"


def test_calling_off_takes_a_version_and_a_revision_once():
    event = make_event()
    off = cancelled(event, NOW)
    assert (off.status, off.version, off.revision, off.changed_revision) == (EventStatus.CANCELLED, 3, 2, 2)
    assert cancelled(off, NOW + timedelta(days=1)) is off
