"""The status of an event at a time, and the offer of a type."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import make_event
from ticket_service.domain.events import DEFAULT_REFUND_TIERS, MAX_PRICE, EventStatus, Offer, RefundTier, TicketType
from ticketing.chassis.callers import Caller, Role

EVENT = make_event()
LEAST = timedelta(microseconds=1)


def test_a_published_event_is_complete_once_it_has_ended():
    assert EVENT.status_at(EVENT.end_time - LEAST) is EventStatus.PUBLISHED
    assert EVENT.status_at(EVENT.end_time) is EventStatus.COMPLETED


@pytest.mark.parametrize("status", [EventStatus.DRAFT, EventStatus.CANCELLED])
def test_other_events_keep_their_status_after_their_end(status):
    assert replace(EVENT, status=status).status_at(EVENT.end_time + LEAST) is status


@pytest.mark.parametrize(
    ("subject", "role", "sees_drafts"),
    [
        ("olga", Role.ORGANIZER, True),
        ("oscar", Role.ORGANIZER, False),
        ("olga", Role.USER, False),
        ("shop", Role.SERVICE, False),
        ("root", Role.OPERATOR, True),
    ],
)
def test_only_its_organizer_and_operators_see_a_draft(subject, role, sees_drafts):
    caller = Caller(subject, frozenset({role}))
    assert replace(EVENT, status=EventStatus.DRAFT).is_visible_to(caller) is sees_drafts
    assert all(replace(EVENT, status=one).is_visible_to(caller) for one in EventStatus if one is not EventStatus.DRAFT)


def test_an_event_has_at_most_one_offer_of_a_type():
    standard, vip = Offer(TicketType.STANDARD, 1_000), Offer(TicketType.VIP, 5_000)
    event = replace(EVENT, offers=(standard, vip))
    assert (event.offer(TicketType.STANDARD), event.offer(TicketType.VIP)) == (standard, vip)
    assert event.offer(TicketType.GROUP) is None


def test_gates_admit_from_the_opening_of_the_doors_or_the_start():
    assert EVENT.admits_from == EVENT.start_time - timedelta(hours=1)
    assert replace(EVENT, doors_open_time=None).admits_from == EVENT.start_time


def test_another_version_has_another_etag():
    assert (replace(EVENT, version=2).etag, replace(EVENT, version=3).etag) == ("2", "3")


def test_the_sum_of_a_sold_out_event_fits_a_column_of_64_bits():
    assert MAX_PRICE == 1_000_000_000
    assert MAX_PRICE * 2**31 < 2**63


def test_by_default_the_price_is_refunded_a_week_before_and_half_of_it_three_days():
    assert (RefundTier(days_before=7, percent=100), RefundTier(days_before=3, percent=50)) == DEFAULT_REFUND_TIERS
