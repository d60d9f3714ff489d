from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW, make_event
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.purchases import EXTERNAL, PurchaseStatus
from ticket_service.domain.sales import Answer, Inventory, Order, Replayed, Sale, SaleContext, SalesBatch, answer
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

CONTEXT = SaleContext(max_per_purchase=20, new_id=new_id, now=NOW, hold=timedelta(minutes=10))
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


def batch_of(*events: Event) -> SalesBatch:
    return SalesBatch({event.event_id: Inventory(event) for event in events}, {}, {})


def sold(found: Answer) -> Sale:
    assert isinstance(found, Sale)
    return found


def failure(found: Answer) -> Failure:
    assert isinstance(found, Failure)
    return found


def reason(found: Answer) -> str:
    return failure(found).reason


def test_an_order_is_answered_by_the_places_earlier_ones_left():
    event = replace(FREE, max_participants=3)
    batch = batch_of(event)
    first, second, third = (
        answer(order(quantities=((TicketType.STANDARD, quantity),), event=event), batch, CONTEXT)
        for quantity in (2, 2, 1)
    )
    assert isinstance(first, Sale)
    assert reason(second) == "SOLD_OUT"
    assert isinstance(third, Sale)
    assert batch.inventories[event.event_id].reserved == 3


def test_each_ticket_takes_the_next_revision_of_its_event():
    event = replace(FREE, revision=7)
    batch = batch_of(event)
    sales = [sold(answer(order(event, quantities=((TicketType.VIP, 2),)), batch, CONTEXT)) for _ in range(2)]
    assert [ticket.revision for sale in sales for ticket in sale.tickets] == [8, 9, 10, 11]
    assert batch.inventories[event.event_id].revision == 11


def test_the_same_request_twice_in_a_batch_is_one_sale():
    batch, twice = batch_of(FREE), order()
    sale = sold(answer(twice, batch, CONTEXT))
    again = answer(twice, batch, CONTEXT)
    assert again == Replayed(FREE.event_id, sale.purchase.purchase_id, twice.fingerprint)
    assert reason(answer(replace(twice, fingerprint=b"another"), batch, CONTEXT)) == "REQUEST_ID_REUSED"
    assert isinstance(answer(replace(twice, caller="bob"), batch, CONTEXT), Sale)
    assert batch.inventories[FREE.event_id].reserved == 2


def test_a_refused_request_may_be_repeated_in_the_same_batch():
    event = replace(FREE, max_participants=0)
    batch, twice = batch_of(event), order(event)
    assert reason(answer(twice, batch, CONTEXT)) == "SOLD_OUT"
    assert reason(answer(twice, batch, CONTEXT)) == "SOLD_OUT"


def test_one_payment_in_a_batch_pays_one_purchase():
    event = make_event(ticket_price=100)
    batch = batch_of(event)
    paid: dict[str, Any] = {"payment_id": "p", "expected_total": ("EUR", 100)}
    sale = sold(answer(order(event, **paid), batch, CONTEXT))
    assert (sale.purchase.provider, sale.purchase.payment_id) == (EXTERNAL, "p")
    second = failure(answer(order(event, **paid), batch, CONTEXT))
    assert second.reason == "PAYMENT_ALREADY_USED"
    assert second.metadata["purchase_id"] == str(sale.purchase.purchase_id)


def test_an_unpaid_purchase_holds_places_without_tickets():
    event = make_event(ticket_price=100)
    batch = batch_of(event)
    sale = sold(answer(order(event), batch, CONTEXT))
    assert (sale.purchase.status, sale.tickets) == (PurchaseStatus.HELD, ())
    assert sale.purchase.hold_expire_time == NOW + CONTEXT.hold
    inventory = batch.inventories[event.event_id]
    assert (inventory.reserved, inventory.revision) == (1, event.revision)


VIP_ONLY = Offer(TicketType.VIP, 0, capacity=0)


@pytest.mark.parametrize(
    ("event", "change", "expected"),
    [
        # Where several reasons apply, the earlier one is returned.
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
def test_an_order_is_refused_for_the_first_reason_that_applies(event, change, expected):
    batch = batch_of(event)
    batch.payments["used"] = new_id()
    assert reason(answer(order(event, **change), batch, CONTEXT)) == expected


@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.lists(st.tuples(st.sampled_from([TicketType.STANDARD, TicketType.VIP]), st.integers(1, 20)), max_size=20),
)
def test_no_orders_sell_more_than_the_capacity(places, vip_places, wanted):
    offers = (Offer(TicketType.STANDARD, 0), Offer(TicketType.VIP, 0, capacity=vip_places))
    event = replace(FREE, max_participants=places, offers=offers)
    batch = batch_of(event)
    answers = [answer(order(event, quantities=(item,)), batch, CONTEXT) for item in wanted]
    tickets = [ticket for found in answers if isinstance(found, Sale) for ticket in found.tickets]
    vips = sum(ticket.ticket_type is TicketType.VIP for ticket in tickets)
    inventory = batch.inventories[event.event_id]
    assert len(tickets) == inventory.reserved <= places
    assert vips == inventory.offers_reserved[TicketType.VIP] <= vip_places
    assert len({ticket.revision for ticket in tickets}) == len(tickets) == inventory.revision - event.revision
