from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW, make_event
from ticket_service.domain.customers import Customer, CustomerBounds, Hold, Holdings
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.payments import SWEEPER_DELAY
from ticket_service.domain.purchases import EXTERNAL, Item, PurchaseStatus
from ticket_service.domain.purchases import FREE as FREE_PROVIDER
from ticket_service.domain.sales import (
    Answer,
    HeldAgain,
    Inventory,
    Order,
    Replayed,
    Sale,
    SaleContext,
    SalesBatch,
    answer,
)
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


def test_a_free_purchase_is_complete_and_has_no_payment():
    purchase = sold(answer(order(payment_id="ignored"), batch_of(FREE), CONTEXT)).purchase
    assert (purchase.status, purchase.complete_time, purchase.total) == (PurchaseStatus.COMPLETED, NOW, 0)
    assert (purchase.provider, purchase.payment_id) == (FREE_PROVIDER, None)
    assert (purchase.hold_expire_time, purchase.due_time) == (None, None)


# The smallest price is a price.
@pytest.mark.parametrize("price", [1, 100])
def test_a_hold_of_the_callers_payment_system_is_due_when_it_expires(price):
    event = make_event(ticket_price=price)
    purchase = sold(answer(order(event, payment_method="pm_1"), batch_of(event), CONTEXT)).purchase
    assert (purchase.status, purchase.complete_time, purchase.total) == (PurchaseStatus.HELD, None, price)
    assert purchase.due_time == purchase.hold_expire_time == NOW + CONTEXT.hold
    assert (purchase.provider, purchase.payment_id, purchase.payment_method) == (EXTERNAL, None, None)


def test_the_sweeper_charges_a_hold_soon_if_the_request_does_not():
    event = make_event(ticket_price=100)
    charged = order(event, provider="stripe", payment_method="pm_1")
    purchase = sold(answer(charged, batch_of(event), CONTEXT)).purchase
    assert (purchase.due_time, purchase.payment_method) == (NOW + SWEEPER_DELAY, "pm_1")
    short = replace(CONTEXT, hold=timedelta(seconds=1))
    purchase = sold(answer(charged, batch_of(event), short)).purchase
    assert purchase.due_time == purchase.hold_expire_time == NOW + short.hold


def test_a_paid_purchase_is_complete_and_expires_never():
    event = make_event(ticket_price=100)
    paid = sold(answer(order(event, payment_id="p", payment_method="pm_1"), batch_of(event), CONTEXT))
    purchase = paid.purchase
    assert (purchase.status, purchase.complete_time, purchase.payment_id) == (PurchaseStatus.COMPLETED, NOW, "p")
    assert (purchase.hold_expire_time, purchase.due_time, purchase.payment_method) == (None, None, None)
    assert [ticket.issue for ticket in paid.tickets] == [1]


MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("opens", "closes", "expected"),
    [
        (timedelta(), None, None),
        (MOMENT, None, "NOT_ON_SALE"),
        (None, MOMENT, None),
        (None, timedelta(), "NOT_ON_SALE"),
    ],
)
def test_an_offer_is_on_sale_from_its_start_until_before_its_end(opens, closes, expected):
    start, end = (None if moment is None else NOW + moment for moment in (opens, closes))
    event = replace(FREE, offers=(Offer(TicketType.STANDARD, 0, sales_start_time=start, sales_end_time=end),))
    found = answer(order(event), batch_of(event), CONTEXT)
    assert (reason(found) if isinstance(found, Failure) else None) == expected


@pytest.mark.parametrize(
    ("offered", "bounds"),
    [({"min_per_purchase": 2, "max_per_purchase": 4}, (2, 4)), ({}, (1, 20)), ({"max_per_purchase": 99}, (1, 20))],
)
def test_an_order_has_as_many_tickets_as_the_offer_allows(offered, bounds):
    event = replace(FREE, offers=(Offer(TicketType.STANDARD, 0, **offered),))

    def allows(quantity: int) -> bool:
        wanted = order(event, quantities=((TicketType.STANDARD, quantity),))
        return isinstance(answer(wanted, batch_of(event), CONTEXT), Sale)

    low, high = bounds
    assert [allows(quantity) for quantity in (low - 1, low, high, high + 1)] == [False, True, True, False]


def test_sold_out_says_how_many_places_are_left_and_of_which_type():
    full = replace(FREE, max_participants=5, reserved=2)
    refused = failure(answer(order(full, quantities=((TicketType.STANDARD, 4),)), batch_of(full), CONTEXT))
    assert refused.metadata == {"event_id": str(full.event_id), "requested": "4", "available": "3"}
    vip = replace(FREE, offers=(Offer(TicketType.VIP, 0, capacity=3, reserved=2),))
    refused = failure(answer(order(vip, quantities=((TicketType.VIP, 2),)), batch_of(vip), CONTEXT))
    assert refused.metadata == {
        "event_id": str(vip.event_id),
        "requested": "2",
        "available": "1",
        "ticket_type": "VIP",
    }


def test_the_last_place_of_an_offer_and_of_an_event_is_sold():
    vip = replace(FREE, max_participants=3, reserved=2, offers=(Offer(TicketType.VIP, 0, capacity=3, reserved=2),))
    wanted, batch = order(vip, quantities=((TicketType.VIP, 1),)), batch_of(vip)
    assert isinstance(answer(wanted, batch, CONTEXT), Sale)
    assert reason(answer(replace(wanted, request_id=new_id()), batch, CONTEXT)) == "SOLD_OUT"


def test_a_ticket_has_the_hours_of_its_offer():
    until = NOW + timedelta(hours=1)
    event = replace(FREE, offers=(Offer(TicketType.VIP, 0, valid_from_time=NOW, valid_until_time=until),))
    [ticket] = sold(answer(order(event, quantities=((TicketType.VIP, 1),)), batch_of(event), CONTEXT)).tickets
    assert (ticket.valid_from_time, ticket.valid_until_time) == (NOW, until)


def test_released_places_can_be_sold_again():
    event = replace(FREE, max_participants=9, reserved=5, offers=(Offer(TicketType.VIP, 0, reserved=4),))
    inventory = Inventory(event)
    inventory.release([Item(TicketType.VIP, 3, 0), Item(TicketType.STANDARD, 1, 0)])
    assert (inventory.reserved, inventory.offers_reserved) == (1, {TicketType.VIP: 1})


ALICE = Customer("alice")
BOUNDS = CustomerBounds(max_held=3, max_tickets=4, max_unpaid=0, unpaid_window=timedelta())
BOUNDED = replace(CONTEXT, customers=BOUNDS)


def bounded_batch(event: Event, *holds: Hold) -> SalesBatch:
    return replace(batch_of(event), holdings={(event.event_id, ALICE): Holdings(list(holds))})


def hold_of(event: Event, places: int = 1, **changes: Any) -> Hold:
    items = (Item(TicketType.STANDARD, places, event.ticket_price),)
    return replace(Hold(new_id(), items, EXTERNAL, NOW + timedelta(minutes=1)), **changes)


def test_an_equal_order_of_a_customer_gets_the_hold_again():
    event = make_event(ticket_price=1)
    own = hold_of(event)
    batch, again = bounded_batch(event, own), order(event, customer=ALICE)
    assert answer(again, batch, BOUNDED) == HeldAgain(again, own.purchase_id)
    assert answer(again, batch, BOUNDED) == Replayed(event.event_id, own.purchase_id, again.fingerprint)
    assert batch.inventories[event.event_id].reserved == 0


@pytest.mark.parametrize(
    "other",
    [
        {"customer": Customer("bob")},
        {"customer": None},
        {"quantities": ((TicketType.STANDARD, 2),)},
        {"provider": "stripe"},
        {"payment_id": "p"},
    ],
)
def test_another_order_gets_no_hold_of_a_customer(other):
    event = make_event(ticket_price=1)
    batch = bounded_batch(event, hold_of(event))
    assert isinstance(answer(order(event, **{"customer": ALICE} | other), batch, BOUNDED), Sale)


def test_a_free_order_gets_no_hold():
    batch = bounded_batch(FREE, hold_of(FREE))
    assert isinstance(answer(order(customer=ALICE), batch, BOUNDED), Sale)


def test_sales_of_a_batch_count_toward_the_bounds_of_a_customer():
    event = make_event(ticket_price=1)
    batch = bounded_batch(event)

    def buy(quantity: int, **more: Any) -> Answer:
        wanted = order(event, customer=ALICE, quantities=((TicketType.STANDARD, quantity),), **more)
        return answer(wanted, batch, BOUNDED)

    assert sold(buy(2)).purchase.status is PurchaseStatus.HELD
    assert reason(buy(3)) == "CUSTOMER_HOLD_LIMIT"
    assert sold(buy(1, payment_id="p")).purchase.status is PurchaseStatus.COMPLETED
    assert reason(buy(2, payment_id="q")) == "CUSTOMER_TICKET_LIMIT"
    assert isinstance(buy(1, payment_id="q"), Sale)
    # The bound of unpaid places concerns no paid order.
    assert reason(buy(1, payment_id="r")) == "CUSTOMER_TICKET_LIMIT"
