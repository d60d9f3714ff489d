from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW, make_event
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.purchases import Provider, PurchaseStatus
from ticket_service.domain.sales import Answer, Inventory, Order, Replayed, SalesBatch, Sold, Terms, answer
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

TERMS = Terms(max_per_purchase=20, new_id=new_id, now=NOW, hold=timedelta(minutes=10))
FREE = make_event(ticket_price=0)


def order(event: Event = FREE, **changes: Any) -> Order:
    usual = Order(
        caller="alice",
        request_id=new_id(),
        fingerprint=b"fingerprint",
        event_id=event.event_id,
        quantities=((TicketType.STANDARD, 1),),
        user_id="alice",
        email="",
        payment_id=None,
        expected_total=None,
        metadata={},
        organizer_id=None,
        own_events_only=False,
    )
    return replace(usual, **changes)


def book(*events: Event) -> SalesBatch:
    return SalesBatch({event.event_id: Inventory(event) for event in events}, {}, {})


def sold(found: Answer) -> Sold:
    assert isinstance(found, Sold)
    return found


def failure(found: Answer) -> Failure:
    assert isinstance(found, Failure)
    return found


def reason(found: Answer) -> str:
    return failure(found).reason


def test_an_order_is_judged_by_what_those_before_it_left():
    event = replace(FREE, max_participants=3)
    batch = book(event)
    first, second, third = (
        answer(order(quantities=((TicketType.STANDARD, quantity),), event=event), batch, TERMS)
        for quantity in (2, 2, 1)
    )
    assert isinstance(first, Sold)
    assert reason(second) == "SOLD_OUT"
    assert isinstance(third, Sold)
    assert batch.inventories[event.event_id].reserved == 3


def test_each_ticket_takes_the_next_revision_of_its_event():
    event = replace(FREE, revision=7)
    batch = book(event)
    sales = [sold(answer(order(event, quantities=((TicketType.VIP, 2),)), batch, TERMS)) for _ in range(2)]
    assert [ticket.revision for sale in sales for ticket in sale.tickets] == [8, 9, 10, 11]
    assert batch.inventories[event.event_id].revision == 11


def test_the_same_request_twice_in_a_batch_is_one_sale():
    batch, twice = book(FREE), order()
    sale = sold(answer(twice, batch, TERMS))
    again = answer(twice, batch, TERMS)
    assert again == Replayed(FREE.event_id, sale.purchase.purchase_id, twice.fingerprint)
    assert reason(answer(replace(twice, fingerprint=b"another"), batch, TERMS)) == "REQUEST_ID_REUSED"
    assert isinstance(answer(replace(twice, caller="bob"), batch, TERMS), Sold)
    assert batch.inventories[FREE.event_id].reserved == 2


def test_a_refused_request_may_come_again_in_the_same_batch():
    event = replace(FREE, max_participants=0)
    batch, twice = book(event), order(event)
    assert reason(answer(twice, batch, TERMS)) == "SOLD_OUT"
    assert reason(answer(twice, batch, TERMS)) == "SOLD_OUT"


def test_one_payment_in_a_batch_pays_one_purchase():
    event = make_event(ticket_price=100)
    batch = book(event)
    paid: dict[str, Any] = {"payment_id": "p", "expected_total": ("EUR", 100)}
    sale = sold(answer(order(event, **paid), batch, TERMS))
    assert (sale.purchase.provider, sale.purchase.payment_id) == (Provider.EXTERNAL, "p")
    second = failure(answer(order(event, **paid), batch, TERMS))
    assert second.reason == "PAYMENT_ALREADY_USED"
    assert second.metadata["purchase_id"] == str(sale.purchase.purchase_id)


def test_what_is_not_paid_yet_takes_its_places_but_has_no_tickets():
    event = make_event(ticket_price=100)
    batch = book(event)
    sale = sold(answer(order(event), batch, TERMS))
    assert (sale.purchase.status, sale.tickets) == (PurchaseStatus.HELD, ())
    assert sale.purchase.hold_expire_time == NOW + TERMS.hold
    inventory = batch.inventories[event.event_id]
    assert (inventory.reserved, inventory.revision) == (1, event.revision)


VIP_ONLY = Offer(TicketType.VIP, 0, capacity=0)


@pytest.mark.parametrize(
    ("event", "change", "expected"),
    [
        # The earlier reason is told where several hold.
        (replace(FREE, status=EventStatus.CANCELLED), {}, "NOT_ON_SALE"),
        (make_event(starts_in=timedelta(days=-1), offers=(VIP_ONLY,)), {}, "EVENT_ENDED"),
        (replace(FREE, offers=(VIP_ONLY,)), {"quantities": ((TicketType.STANDARD, 99),)}, "NOT_ON_SALE"),
        (replace(FREE, max_participants=0), {"quantities": ((TicketType.STANDARD, 99),)}, "PURCHASE_LIMIT"),
        (replace(FREE, max_participants=0), {"expected_total": ("EUR", 1)}, "PRICE_CHANGED"),
        (replace(FREE, offers=(VIP_ONLY,)), {"quantities": ((TicketType.VIP, 1),), "payment_id": "used"}, "SOLD_OUT"),
        (FREE, {"payment_id": "used"}, "PAYMENT_ALREADY_USED"),
        (FREE, {"own_events_only": True, "organizer_id": "otto"}, "EVENT_NOT_FOUND"),
        (replace(FREE, status=EventStatus.DRAFT), {"organizer_id": "otto"}, "EVENT_NOT_FOUND"),
        (replace(FREE, status=EventStatus.DRAFT), {"organizer_id": "olga"}, "NOT_ON_SALE"),
    ],
)
def test_why_an_order_is_refused(event, change, expected):
    batch = book(event)
    batch.payments["used"] = new_id()
    assert reason(answer(order(event, **change), batch, TERMS)) == expected


@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.lists(st.tuples(st.sampled_from([TicketType.STANDARD, TicketType.VIP]), st.integers(1, 20)), max_size=20),
)
def test_whatever_is_ordered_no_more_is_sold_than_there_is(places, vip_places, wanted):
    offers = (Offer(TicketType.STANDARD, 0), Offer(TicketType.VIP, 0, capacity=vip_places))
    event = replace(FREE, max_participants=places, offers=offers)
    batch = book(event)
    answers = [answer(order(event, quantities=(item,)), batch, TERMS) for item in wanted]
    tickets = [ticket for found in answers if isinstance(found, Sold) for ticket in found.tickets]
    vips = sum(ticket.ticket_type is TicketType.VIP for ticket in tickets)
    inventory = batch.inventories[event.event_id]
    assert len(tickets) == inventory.reserved <= places
    assert vips == inventory.offers_reserved[TicketType.VIP] <= vip_places
    assert len({ticket.revision for ticket in tickets}) == len(tickets) == inventory.revision - event.revision
