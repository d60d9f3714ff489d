"""Who may buy what: a batch of orders is answered in the order it came, each by what those before it left.

Pure: the events as locked and what is on record go in, answers come out, and `Book` holds the counters as they will be
once the sales are written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.failures import Failure
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.purchases import Item, Provider, Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import event_ended, event_not_found, request_id_reused
from ticket_service.domain.tickets import Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asks to buy."""

    # Who asks; not always who buys.
    caller: str
    request_id: UUID
    # Of all that makes this request this one and no other.
    fingerprint: bytes
    event_id: UUID
    # How many of which type; a type at most once.
    quantities: tuple[tuple[TicketType, int], ...]
    user_id: str
    email: str
    # What the caller's own payment system has taken already.
    payment_id: str | None
    # Currency and minor units that the buyer was shown.
    expected_total: tuple[str, int] | None
    metadata: Mapping[str, object]
    # As which organizer the caller acts, if as any.
    organizer_id: str | None
    # The order stands on the organizer's rights, which end at their own events.
    own_events_only: bool


@dataclass(frozen=True, slots=True)
class Sold:
    """A new, completed purchase."""

    order: Order
    purchase: Purchase
    tickets: tuple[Ticket, ...]
    # As of the end of this sale.
    event: Event


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request was answered before; nothing is sold again."""

    event_id: UUID
    purchase_id: UUID
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Unpaid:
    """The places are there, but nothing has been paid."""

    total: int


Answer = Sold | Replayed | Unpaid | Failure


@dataclass(slots=True)
class Book:
    """What is known while a batch is answered; every sale changes it."""

    events: dict[UUID, Event]
    # By caller and request_id: what those requests led to.
    requests: dict[tuple[str, UUID], Replayed]
    # By payment_id: the purchase that it pays.
    payments: dict[str, UUID]
    # How many of each type were sold of each event in this batch.
    sold: dict[UUID, dict[TicketType, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every order of a batch."""

    max_per_purchase: int
    new_id: Callable[[], UUID]
    now: datetime


def answer(order: Order, book: Book, terms: Terms) -> Answer:
    """Answer one order, and enter it in the book if it is a sale."""
    first = book.requests.get((order.caller, order.request_id))
    if first is not None:
        return first if first.fingerprint == order.fingerprint else request_id_reused(order.request_id)
    try:
        event = _on_sale(book.events.get(order.event_id), order, terms.now)
        items = tuple(_item(event, kind, quantity, terms) for kind, quantity in order.quantities)
        total = sum(item.quantity * item.unit_price for item in items)
        _check_price(event, order, total)
        _check_places(event, items)
        _check_payment(order, book)
    except Failure as failure:
        return failure
    if total and order.payment_id is None:
        return Unpaid(total)
    return _sell(event, order, items, book, terms)


def _on_sale(event: Event | None, order: Order, now: datetime) -> Event:
    if event is None or (order.own_events_only and event.organizer_id != order.organizer_id):
        raise event_not_found(order.event_id)
    status = event.status_at(now)
    if status is EventStatus.DRAFT and event.organizer_id != order.organizer_id:
        raise event_not_found(order.event_id)
    if status is EventStatus.COMPLETED:
        raise event_ended(event)
    if status is not EventStatus.PUBLISHED:
        raise Failure(Reason.NOT_ON_SALE, f"the event is {status}, not on sale", event_id=event.event_id, status=status)
    return event


def _item(event: Event, kind: TicketType, quantity: int, terms: Terms) -> Item:
    offer = event.offer(kind)
    if offer is None:
        if event.offers:
            raise _type_not_on_sale(event, kind)
        offer = Offer(kind, event.ticket_price)
    if offer.sales_start_time is not None and terms.now < offer.sales_start_time:
        raise _type_not_on_sale(event, kind)
    if offer.sales_end_time is not None and terms.now >= offer.sales_end_time:
        raise _type_not_on_sale(event, kind)
    most = min(offer.max_per_purchase or terms.max_per_purchase, terms.max_per_purchase)
    if not offer.min_per_purchase <= quantity <= most:
        raise Failure(
            Reason.PURCHASE_LIMIT,
            f"{offer.min_per_purchase} to {most} {kind} tickets can be bought at once",
            ticket_type=kind,
            min=offer.min_per_purchase,
            max=most,
        )
    return Item(kind, quantity, offer.price)


def _check_price(event: Event, order: Order, total: int) -> None:
    if order.expected_total is not None and order.expected_total != (event.currency, total):
        currency, expected = order.expected_total
        raise Failure(
            Reason.PRICE_CHANGED,
            f"the total is {total} {event.currency} in minor units, not {expected} {currency}",
            expected=expected,
            actual=total,
            currency_code=event.currency,
        )


def _check_places(event: Event, items: Sequence[Item]) -> None:
    for item in items:
        offer = event.offer(item.ticket_type)
        if offer is not None and offer.capacity is not None and item.quantity > offer.capacity - offer.reserved:
            raise _sold_out(event, item.quantity, offer.capacity - offer.reserved, item.ticket_type)
    wanted = sum(item.quantity for item in items)
    if event.max_participants is not None and wanted > event.max_participants - event.reserved:
        raise _sold_out(event, wanted, event.max_participants - event.reserved)


def _check_payment(order: Order, book: Book) -> None:
    paid = book.payments.get(order.payment_id) if order.payment_id is not None else None
    if paid is not None:
        raise Failure(
            Reason.PAYMENT_ALREADY_USED,
            "the payment pays another purchase",
            payment_id=order.payment_id,
            purchase_id=paid,
        )


def _sell(event: Event, order: Order, items: tuple[Item, ...], book: Book, terms: Terms) -> Sold:
    total = sum(item.quantity * item.unit_price for item in items)
    purchase = Purchase(
        purchase_id=terms.new_id(),
        event_id=event.event_id,
        user_id=order.user_id,
        items=items,
        currency=event.currency,
        total=total,
        status=PurchaseStatus.COMPLETED,
        provider=Provider.EXTERNAL if total else Provider.FREE,
        payment_id=order.payment_id if total else None,
        metadata=order.metadata,
        create_time=terms.now,
        complete_time=terms.now,
    )
    tickets = _tickets(event, purchase, terms)
    after = _counted(event, items)
    book.events[event.event_id] = after
    book.requests[order.caller, order.request_id] = Replayed(event.event_id, purchase.purchase_id, order.fingerprint)
    if purchase.payment_id is not None:
        book.payments[purchase.payment_id] = purchase.purchase_id
    sold = book.sold.setdefault(event.event_id, {})
    for item in items:
        sold[item.ticket_type] = sold.get(item.ticket_type, 0) + item.quantity
    return Sold(order, purchase, tickets, after)


def _tickets(event: Event, purchase: Purchase, terms: Terms) -> tuple[Ticket, ...]:
    revision = event.revision
    tickets = []
    for item in purchase.items:
        offer = event.offer(item.ticket_type)
        for _ in range(item.quantity):
            revision += 1
            tickets.append(
                Ticket(
                    ticket_id=terms.new_id(),
                    event_id=event.event_id,
                    purchase_id=purchase.purchase_id,
                    user_id=purchase.user_id,
                    ticket_type=item.ticket_type,
                    status=TicketStatus.ACTIVE,
                    price=item.unit_price,
                    valid_from_time=offer.valid_from_time if offer else None,
                    valid_until_time=offer.valid_until_time if offer else None,
                    check_in_time=None,
                    issue=1,
                    revision=revision,
                    create_time=terms.now,
                    update_time=terms.now,
                )
            )
    return tuple(tickets)


def _counted(event: Event, items: Sequence[Item]) -> Event:
    """Return the event once these items are sold: a place and a revision for each ticket."""
    tickets = sum(item.quantity for item in items)
    offers = event.offers
    if offers:
        bought = {item.ticket_type: item.quantity for item in items}
        offers = tuple(
            replace(offer, reserved=offer.reserved + bought.get(offer.ticket_type, 0)) for offer in event.offers
        )
    return replace(event, reserved=event.reserved + tickets, revision=event.revision + tickets, offers=offers)


def _type_not_on_sale(event: Event, kind: TicketType) -> Failure:
    return Failure(
        Reason.NOT_ON_SALE,
        f"{kind} tickets are not on sale",
        event_id=event.event_id,
        status=event.status,
        ticket_type=kind,
    )


def _sold_out(event: Event, requested: int, available: int, ticket_type: TicketType | None = None) -> Failure:
    message = f"{available} are left, {requested} were asked for"
    facts: dict[str, Any] = {"event_id": event.event_id, "requested": requested, "available": available}
    if ticket_type is not None:
        facts["ticket_type"] = ticket_type
    return Failure(Reason.SOLD_OUT, message, **facts)
