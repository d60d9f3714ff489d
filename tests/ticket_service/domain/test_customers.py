"""Tests of the bounds of one customer of an event."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.customers import (
    UNBOUNDED,
    CustomerBounds,
    Hold,
    Holdings,
    check_holds,
    check_tickets,
    counts_tickets,
)
from ticket_service.domain.events import Event, Offer, TicketType
from ticket_service.domain.purchases import Item
from ticketing.chassis.failures import RETRY_SOON, Failure
from ticketing.chassis.ids import new_id

STANDARD, VIP = TicketType.STANDARD, TicketType.VIP
MINUTE, MOMENT = timedelta(minutes=1), timedelta(microseconds=1)
EVENT = make_event()


def items(**quantities: int) -> tuple[Item, ...]:
    return tuple(Item(TicketType[name], quantity, 100) for name, quantity in quantities.items())


def hold(minutes: float = 10, provider: str = "stripe", **quantities: int) -> Hold:
    return Hold(new_id(), items(**quantities), provider, NOW + minutes * MINUTE)


def held(wanted: tuple[Item, ...], holdings: Holdings, event: Event = EVENT, **bounds: Any) -> Failure | None:
    try:
        check_holds(event, wanted, holdings, replace(UNBOUNDED, **bounds), NOW)
    except Failure as failure:
        return failure
    return None


def owned(wanted: tuple[Item, ...], holdings: Holdings, event: Event = EVENT, max_tickets: int = 0) -> Failure | None:
    try:
        check_tickets(event, wanted, holdings, replace(UNBOUNDED, max_tickets=max_tickets))
    except Failure as failure:
        return failure
    return None


def test_a_hold_is_found_by_its_items_in_any_order_until_it_expires():
    own = Hold(new_id(), items(VIP=1, STANDARD=2), "stripe", NOW + MINUTE)
    holdings = Holdings([hold(VIP=1), own])
    wanted = items(STANDARD=2, VIP=1)
    assert holdings.hold_of(wanted, "stripe", NOW) == own
    assert holdings.hold_of(wanted, "stripe", NOW + MINUTE - MOMENT) == own
    assert holdings.hold_of(wanted, "stripe", NOW + MINUTE) is None
    assert holdings.hold_of(wanted, "external", NOW) is None
    assert holdings.hold_of(items(STANDARD=1, VIP=1), "stripe", NOW) is None


def test_tickets_are_added_by_type():
    holdings = Holdings(tickets={VIP: 1})
    holdings.add_tickets(items(STANDARD=2, VIP=3))
    assert holdings.tickets == {STANDARD: 2, VIP: 4}


def test_a_customer_holds_up_to_the_bound_of_all_types_together():
    holdings = Holdings([hold(STANDARD=1), hold(VIP=2)])
    assert held(items(VIP=1), holdings, max_held=4) is None
    refused = held(items(VIP=2), holdings, max_held=4)
    assert refused is not None
    assert refused.reason == "CUSTOMER_HOLD_LIMIT"
    assert refused.metadata == {
        "event_id": str(EVENT.event_id),
        "max": "4",
        "have": "3",
        "requested": "2",
        "within_seconds": "0",
    }
    assert held(items(VIP=99), holdings) is None


def test_the_bound_of_the_event_replaces_that_of_the_service():
    holdings = Holdings([hold(STANDARD=3)], {STANDARD: 3})
    wider = replace(EVENT, max_held_per_customer=9, max_tickets_per_customer=9)
    assert held(items(STANDARD=6), holdings, wider, max_held=4) is None
    assert held(items(STANDARD=7), holdings, wider, max_held=4) is not None
    assert owned(items(STANDARD=3), holdings, wider, max_tickets=4) is None
    assert owned(items(STANDARD=4), holdings, wider, max_tickets=4) is not None
    boundless = replace(EVENT, max_held_per_customer=0, max_tickets_per_customer=0)
    assert held(items(STANDARD=99), holdings, boundless, max_held=4) is None
    assert owned(items(STANDARD=99), holdings, boundless, max_tickets=4) is None


def test_an_offer_bounds_the_places_of_its_type_alone():
    event = replace(EVENT, offers=(Offer(VIP, 100, max_held_per_customer=2, max_tickets_per_customer=3),))
    holdings = Holdings([hold(VIP=1, STANDARD=5)], {VIP: 1, STANDARD: 5})
    assert held(items(VIP=1, STANDARD=9), holdings, event) is None
    refused = held(items(VIP=2), holdings, event)
    assert refused is not None
    assert (refused.metadata["ticket_type"], refused.metadata["have"], refused.metadata["max"]) == ("VIP", "1", "2")
    # Held places will be tickets.
    assert owned(items(VIP=1, STANDARD=9), holdings, event) is None
    refused = owned(items(VIP=2), holdings, event)
    assert refused is not None
    assert (refused.metadata["ticket_type"], refused.metadata["have"], refused.metadata["max"]) == ("VIP", "2", "3")


def test_a_customer_owns_up_to_the_bound_with_the_held_places():
    holdings = Holdings([hold(STANDARD=1)], {STANDARD: 1, VIP: 1})
    assert owned(items(STANDARD=1), holdings, max_tickets=4) is None
    refused = owned(items(STANDARD=2), holdings, max_tickets=4)
    assert refused is not None
    assert refused.reason == "CUSTOMER_TICKET_LIMIT"
    assert refused.metadata == {"event_id": str(EVENT.event_id), "max": "4", "have": "3", "requested": "2"}


def test_a_customer_without_tickets_owns_up_to_the_bound_of_an_offer():
    event = replace(EVENT, offers=(Offer(VIP, 100, max_tickets_per_customer=3),))
    assert owned(items(VIP=3), Holdings(), event) is None
    assert owned(items(VIP=4), Holdings(), event) is not None
    check_tickets(EVENT, items(VIP=99), Holdings(), UNBOUNDED)


def test_unpaid_places_count_for_a_while_after_they_returned_to_sale():
    bounds: dict[str, Any] = {"max_unpaid": 3, "unpaid_window": 60 * MINUTE}
    recent = Holdings(returned=[(NOW - 60 * MINUTE + MOMENT, 2)])
    assert held(items(STANDARD=1), recent, **bounds) is None
    refused = held(items(STANDARD=2), recent, **bounds)
    assert refused is not None
    assert (refused.metadata["have"], refused.metadata["within_seconds"]) == ("2", "3600")
    past = Holdings(returned=[(NOW - 60 * MINUTE, 2)])
    assert held(items(STANDARD=3), past, **bounds) is None
    # Held places are unpaid too.
    assert held(items(STANDARD=2), Holdings([hold(STANDARD=2)]), **bounds) is not None


@pytest.mark.parametrize(
    ("wanted", "retry"),
    [(1, timedelta(minutes=5)), (2, timedelta(minutes=9)), (4, timedelta(minutes=9)), (5, None)],
)
def test_a_refused_customer_may_retry_when_enough_holds_have_expired(wanted, retry):
    holdings = Holdings([hold(9, STANDARD=3), hold(5, STANDARD=1)])
    refused = held(items(STANDARD=wanted), holdings, max_held=4)
    assert refused is not None
    assert refused.retry_after == retry


def test_a_retry_time_is_never_in_the_past():
    refused = held(items(STANDARD=1), Holdings([hold(-1, STANDARD=1)]), max_held=1)
    assert refused is not None
    assert refused.retry_after == RETRY_SOON


def test_returned_places_leave_at_the_end_of_the_window():
    holdings = Holdings(returned=[(NOW - 10 * MINUTE, 2)])
    refused = held(items(STANDARD=2), holdings, max_unpaid=3, unpaid_window=60 * MINUTE)
    assert refused is not None
    assert refused.retry_after == 50 * MINUTE


@pytest.mark.parametrize(
    ("of_event", "of_service", "expected"),
    [(None, 0, False), (None, 4, True), (0, 4, False), (2, 0, True)],
)
def test_tickets_are_counted_where_a_bound_applies(of_event, of_service, expected):
    bounds = CustomerBounds(0, of_service, 0, timedelta())
    assert counts_tickets(of_event, bounds) is expected
