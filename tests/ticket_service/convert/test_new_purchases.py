from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.selling.rows import NOW, make_event
from ticket_service.convert.new_purchases import NewPurchases
from ticket_service.convert.purchases import purchase_message
from ticket_service.convert.tickets import ticket_message
from ticket_service.domain.events import Event, Offer, TicketType
from ticket_service.domain.purchases import EXTERNAL
from ticket_service.domain.sales import Inventory, Order, Sale, SaleContext, SalesBatch, answer
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, Ticket
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.ids import new_id
from ticketing.tickets.v1 import purchase_service_pb2 as pb

SHOP = Caller("shop", frozenset({Role.SERVICE}))
OFFERS = (
    Offer(TicketType.STANDARD, 1_000),
    Offer(TicketType.VIP, 0, valid_from_time=NOW, valid_until_time=NOW + timedelta(days=1)),
)
EVENTS = (make_event(ticket_price=0), make_event(ticket_price=500), make_event(offers=OFFERS))
ORDERS = st.fixed_dictionaries(
    {
        "event": st.sampled_from(EVENTS),
        "quantities": st.lists(
            st.tuples(st.sampled_from([TicketType.STANDARD, TicketType.VIP]), st.integers(1, 3)),
            min_size=1,
            max_size=2,
            unique_by=lambda one: one[0],
        ).map(tuple),
        "user_id": st.sampled_from(["alice", "bob"]),
        "payment_id": st.sampled_from([None, "p1", "p2", "p3"]),
        "provider": st.sampled_from([EXTERNAL, "stripe"]),
        "metadata": st.sampled_from([{}, {"seat": "A1"}, {"seats": ["A1", {"row": 2.0}]}]),
        "language": st.sampled_from(["", "de"]),
    }
)


def sale_of(event: Event, context: SaleContext, **fields: Any) -> Sale:
    usual: dict[str, Any] = {
        "caller": "shop",
        "request_id": new_id(),
        "fingerprint": b"",
        "email": "",
        "expected_total": None,
    }
    order = Order(**usual, event_id=event.event_id, organizer_id=None, own_events_only=False, **fields)
    found = answer(order, SalesBatch({event.event_id: Inventory(event)}, {}, {}), context)
    assert isinstance(found, Sale)
    return found


def response_of(responses: NewPurchases, sale: Sale) -> pb.PurchaseTicketsResponse:
    return responses.response(SHOP, sale, [secrets_of(ticket) for ticket in sale.tickets])


def secrets_of(ticket: Ticket) -> Secrets:
    return Secrets(f"code {ticket.ticket_id}", f"token {ticket.ticket_id}")


def built_alone(sale: Sale) -> pb.PurchaseTicketsResponse:
    purchase = sale.purchase
    tickets = [
        ticket_message(
            SoldTicket(ticket, sale.event, purchase.user_id, purchase.payment_id or "", purchase.metadata),
            purchase.create_time,
            secrets_of(ticket),
            show_payment=True,
        )
        for ticket in sale.tickets
    ]
    return pb.PurchaseTicketsResponse(purchase=purchase_message(SHOP, purchase, tickets))


@given(st.lists(st.tuples(ORDERS, st.integers(0, 1)), min_size=2, max_size=8))
def test_a_response_is_the_same_as_one_built_alone(orders: list[tuple[dict[str, Any], int]]):
    shared = NewPurchases()
    for fields, second in orders:
        context = SaleContext(20, new_id, NOW + timedelta(seconds=second), timedelta(minutes=10))
        sale = sale_of(context=context, **fields)
        assert response_of(shared, sale) == built_alone(sale)


def test_a_changed_event_has_its_new_times_at_the_same_time():
    context = SaleContext(20, new_id, NOW, timedelta(minutes=10))
    fields: dict[str, Any] = {
        "quantities": ((TicketType.STANDARD, 1),),
        "user_id": "a",
        "payment_id": None,
        "metadata": {},
    }
    shared, event = NewPurchases(), EVENTS[0]
    later = replace(event, end_time=event.end_time + timedelta(days=1))
    first, second = (response_of(shared, sale_of(one, context, **fields)) for one in (event, later))
    moved = (
        second.purchase.tickets[0].valid_until_time.ToDatetime()
        - first.purchase.tickets[0].valid_until_time.ToDatetime()
    )
    assert moved == timedelta(days=1)


def test_the_refund_in_a_response_is_the_one_of_its_time():
    shared, event, refunds = NewPurchases(), make_event(ticket_price=1_000, starts_in=timedelta(days=7)), list[int]()
    fields: dict[str, Any] = {"quantities": ((TicketType.STANDARD, 2),), "user_id": "a", "metadata": {}}
    for day in (0, 1, 5):
        context = SaleContext(20, new_id, NOW + timedelta(days=day), timedelta(minutes=10))
        sale = sale_of(event, context, payment_id=f"p{day}", provider=EXTERNAL, **fields)
        found = response_of(shared, sale)
        assert found == built_alone(sale)
        refunds += [ticket.cancel_refund.minor_units for ticket in found.purchase.tickets]
    assert refunds == [1_000, 1_000, 500, 500, 0, 0]
