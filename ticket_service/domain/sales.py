"""Decide the orders of a batch one after the other, each against the inventory that the earlier orders left.

The functions take the locked events and the recorded requests, and return answers. The inventories of the batch then
contain the counters for the store to write.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from ticket_service.domain.customers import (
    UNBOUNDED,
    Customer,
    CustomerBounds,
    Hold,
    Holdings,
    check_holds,
    check_tickets,
)
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.notifications import Notification, purchase_completed
from ticket_service.domain.payments import SWEEPER_DELAY
from ticket_service.domain.purchases import EXTERNAL, FREE, Item, Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import event_ended, event_not_found, payment_already_used, request_id_reused
from ticket_service.domain.ticket_ids import ticket_ids_of
from ticket_service.domain.tickets import Ticket, TicketStatus
from ticketing.chassis.failures import OVERLOADED, RETRY_SOON, Failure


@dataclass(frozen=True, slots=True)
class Order:
    """A request to buy."""

    # The user id of the caller, who is not always the buyer. With `request_id` it is the idempotency key.
    caller: str
    request_id: UUID
    # A digest of the request's content.
    fingerprint: bytes
    event_id: UUID
    # Each type occurs at most once.
    quantities: tuple[tuple[TicketType, int], ...]
    user_id: str
    email: str
    # The payment that the caller's own payment system has captured already.
    payment_id: str | None
    # The currency and the minor units that the buyer was shown.
    expected_total: tuple[str, int] | None
    metadata: Mapping[str, object]
    # The caller's user id if the caller is an organizer, otherwise None.
    organizer_id: str | None
    # Whether the caller may order only for events of their own.
    own_events_only: bool
    # The payment method that `provider` charges.
    payment_method: str | None = None
    provider: str = EXTERNAL
    # None: nobody by name and without an address; no bound per customer applies.
    customer: Customer | None = None
    is_guest: bool = False
    # The normalised BCP 47 tag of the mails and files; "": the buyer named none.
    language: str = ""


@dataclass(frozen=True, slots=True)
class Sale:
    """A new purchase: COMPLETED, or HELD and without tickets until it is paid."""

    order: Order
    purchase: Purchase
    tickets: tuple[Ticket, ...]
    event: Event
    notifications: Sequence[Notification]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of an earlier request with the same idempotency key; nothing is sold again."""

    event_id: UUID
    purchase_id: UUID
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class HeldAgain:
    """An order whose customer holds the same items unpaid: the customer gets that purchase, and nothing is held twice."""

    order: Order
    purchase_id: UUID


Answer = Sale | Replayed | HeldAgain | Failure


class Inventory:
    """The reserved places of an event and its offers, including the sales of the batch so far."""

    __slots__ = ("event", "offers_reserved", "reserved", "revision")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.reserved = event.reserved
        self.revision = event.revision
        self.offers_reserved = {offer.ticket_type: offer.reserved for offer in event.offers}

    def reserve(self, items: Sequence[Item]) -> None:
        """Reserve a place for each ticket; `tickets_of` assigns the revisions."""
        for item in items:
            self.reserved += item.quantity
            if item.ticket_type in self.offers_reserved:
                self.offers_reserved[item.ticket_type] += item.quantity

    def release(self, items: Sequence[Item]) -> None:
        """Release reserved places."""
        for item in items:
            self.reserved -= item.quantity
            if item.ticket_type in self.offers_reserved:
                self.offers_reserved[item.ticket_type] -= item.quantity


@dataclass(frozen=True, slots=True)
class SalesBatch:
    """The locked inventories and the recorded requests and payments of a batch; every sale updates them."""

    inventories: dict[UUID, Inventory]
    # The results of earlier requests, by caller and request_id.
    requests: dict[tuple[str, UUID], Replayed]
    # The purchase that a payment pays, by payment_id.
    payments: dict[str, UUID]
    # Events that another transaction has locked; the batch did not wait, and their orders are refused.
    skipped: frozenset[UUID] = frozenset()
    # The places of the customers of the orders, by event.
    holdings: dict[tuple[UUID, Customer], Holdings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SaleContext:
    """The limits and the time that apply to every order of a batch."""

    max_per_purchase: int
    new_id: Callable[[], UUID]
    now: datetime
    # The duration of a hold.
    hold: timedelta
    customers: CustomerBounds = UNBOUNDED


def answer(order: Order, batch: SalesBatch, context: SaleContext) -> Answer:
    """Answer one order; a sale is added to the batch."""
    first = batch.requests.get((order.caller, order.request_id))
    if first is not None:
        return first if first.fingerprint == order.fingerprint else request_id_reused(order.request_id)
    try:
        inventory = _on_sale(batch.inventories.get(order.event_id), order, context.now)
        if order.event_id in batch.skipped:
            raise _event_locked()
        items = tuple(
            [_item(inventory.event, ticket_type, quantity, context) for ticket_type, quantity in order.quantities]
        )
        total = sum([item.quantity * item.unit_price for item in items])
        _check_price(inventory.event, order, total)
        own = _own_hold(order, items, total, batch, context)
        if own is not None:
            return own
        check_places(inventory, items)
        _check_payment(order, batch)
    except Failure as failure:
        return failure
    return _sell(inventory, order, items, batch, context)


def _on_sale(inventory: Inventory | None, order: Order, now: datetime) -> Inventory:
    if inventory is None or (order.own_events_only and inventory.event.organizer_id != order.organizer_id):
        raise event_not_found(order.event_id)
    event = inventory.event
    status = event.status_at(now)
    if status is EventStatus.DRAFT and event.organizer_id != order.organizer_id:
        raise event_not_found(order.event_id)
    if status is EventStatus.COMPLETED:
        raise event_ended(event)
    if status is not EventStatus.PUBLISHED:
        raise Failure(Reason.NOT_ON_SALE, f"the event is {status}, not on sale", event_id=event.event_id, status=status)
    return inventory


def _item(event: Event, ticket_type: TicketType, quantity: int, context: SaleContext) -> Item:
    offer = event.offer(ticket_type)
    if offer is None:
        if event.offers:
            raise _type_not_on_sale(event, ticket_type)
        offer = Offer(ticket_type, event.ticket_price)
    if offer.sales_start_time is not None and context.now < offer.sales_start_time:
        raise _type_not_on_sale(event, ticket_type)
    if offer.sales_end_time is not None and context.now >= offer.sales_end_time:
        raise _type_not_on_sale(event, ticket_type)
    maximum = min(offer.max_per_purchase or context.max_per_purchase, context.max_per_purchase)
    if not offer.min_per_purchase <= quantity <= maximum:
        raise Failure(
            Reason.PURCHASE_LIMIT,
            f"{offer.min_per_purchase} to {maximum} {ticket_type} tickets can be bought at once",
            ticket_type=ticket_type,
            min=offer.min_per_purchase,
            max=maximum,
        )
    return Item(ticket_type, quantity, offer.price)


def _own_hold(
    order: Order, items: Sequence[Item], total: int, batch: SalesBatch, context: SaleContext
) -> HeldAgain | None:
    """Return the customer's own hold of the same items; raise if a bound forbids the customer another one."""
    holdings = batch.holdings.get((order.event_id, order.customer)) if order.customer is not None else None
    if holdings is None:
        return None
    event = batch.inventories[order.event_id].event
    if total > 0 and order.payment_id is None:
        hold = holdings.hold_of(items, order.provider, context.now)
        if hold is not None:
            first = Replayed(order.event_id, hold.purchase_id, order.fingerprint)
            batch.requests[order.caller, order.request_id] = first
            return HeldAgain(order, hold.purchase_id)
        check_holds(event, items, holdings, context.customers, context.now)
    check_tickets(event, items, holdings, context.customers)
    return None


def _check_price(event: Event, order: Order, total: int) -> None:
    if order.expected_total is not None and order.expected_total != (event.currency, total):
        raise price_changed(event.currency, total, order.expected_total)


def price_changed(currency: str, total: int, expected: tuple[str, int]) -> Failure:
    """Return PRICE_CHANGED: the total differs from the expected total."""
    expected_currency, expected_total = expected
    return Failure(
        Reason.PRICE_CHANGED,
        f"the total is {total} {currency} in minor units, not {expected_total} {expected_currency}",
        expected=expected_total,
        expected_currency_code=expected_currency,
        actual=total,
        currency_code=currency,
    )


def check_places(inventory: Inventory, items: Sequence[Item]) -> None:
    """Raise SOLD_OUT if fewer places are left than the items need."""
    event = inventory.event
    for item in items:
        offer = event.offer(item.ticket_type)
        if offer is not None and offer.capacity is not None:
            left = offer.capacity - inventory.offers_reserved[item.ticket_type]
            if item.quantity > left:
                raise _sold_out(event, item.quantity, left, item.ticket_type)
    if event.max_participants is not None:
        wanted, left = sum(item.quantity for item in items), event.max_participants - inventory.reserved
        if wanted > left:
            raise _sold_out(event, wanted, left)


def _check_payment(order: Order, batch: SalesBatch) -> None:
    paid = batch.payments.get(order.payment_id) if order.payment_id is not None else None
    if paid is not None:
        raise payment_already_used(order.payment_id, paid)


def _sell(inventory: Inventory, order: Order, items: tuple[Item, ...], batch: SalesBatch, context: SaleContext) -> Sale:
    event, total = inventory.event, sum(item.quantity * item.unit_price for item in items)
    is_held = total > 0 and order.payment_id is None
    provider = order.provider if total else FREE
    is_charged = is_held and provider != EXTERNAL
    expires = context.now + context.hold if is_held else None
    purchase = Purchase(
        purchase_id=context.new_id(),
        event_id=event.event_id,
        user_id=order.user_id,
        items=items,
        currency=event.currency,
        total=total,
        status=PurchaseStatus.HELD if is_held else PurchaseStatus.COMPLETED,
        provider=provider,
        payment_id=order.payment_id if total else None,
        metadata=order.metadata,
        create_time=context.now,
        complete_time=None if is_held else context.now,
        hold_expire_time=expires,
        due_time=min(expires, context.now + SWEEPER_DELAY) if expires is not None and is_charged else expires,
        payment_method=order.payment_method if is_charged else None,
        event_version=event.version,
        is_guest=order.is_guest,
        language=order.language,
    )
    tickets = () if is_held else tickets_of(inventory, purchase, context)
    inventory.reserve(items)
    batch.requests[order.caller, order.request_id] = Replayed(event.event_id, purchase.purchase_id, order.fingerprint)
    if purchase.payment_id is not None:
        batch.payments[purchase.payment_id] = purchase.purchase_id
    holdings = batch.holdings.get((order.event_id, order.customer)) if order.customer is not None else None
    if holdings is not None and expires is not None:
        holdings.holds.append(Hold(purchase.purchase_id, items, provider, expires))
    elif holdings is not None:
        holdings.add_tickets(items)
    return Sale(order, purchase, tickets, event, purchase_completed(purchase, tickets))


def tickets_of(inventory: Inventory, purchase: Purchase, context: SaleContext) -> tuple[Ticket, ...]:
    """Return the tickets of a purchase; each takes the event's next revision."""
    wanted = [item for item in purchase.items for _ in range(item.quantity)]
    ids = ticket_ids_of(purchase.purchase_id, len(wanted), context.new_id())
    return tuple([_ticket(inventory, purchase, pair, context) for pair in zip(wanted, ids, strict=True)])


def _ticket(inventory: Inventory, purchase: Purchase, wanted: tuple[Item, UUID], context: SaleContext) -> Ticket:
    item, ticket_id = wanted
    offer = inventory.event.offer(item.ticket_type)
    inventory.revision += 1
    return Ticket(
        ticket_id=ticket_id,
        event_id=purchase.event_id,
        purchase_id=purchase.purchase_id,
        user_id=purchase.user_id,
        ticket_type=item.ticket_type,
        status=TicketStatus.ACTIVE,
        price=item.unit_price,
        valid_from_time=offer.valid_from_time if offer else None,
        valid_until_time=offer.valid_until_time if offer else None,
        check_in_time=None,
        issue=1,
        revision=inventory.revision,
        create_time=context.now,
        update_time=context.now,
    )


def _type_not_on_sale(event: Event, ticket_type: TicketType) -> Failure:
    return Failure(
        Reason.NOT_ON_SALE,
        f"{ticket_type} tickets are not on sale",
        event_id=event.event_id,
        status=event.status,
        ticket_type=ticket_type,
    )


def _event_locked() -> Failure:
    return Failure(OVERLOADED, "another transaction has locked the event; try again", retry_after=RETRY_SOON)


def _sold_out(event: Event, requested: int, available: int, ticket_type: TicketType | None = None) -> Failure:
    message = f"{available} places are left, {requested} were requested"
    facts: dict[str, Any] = {"event_id": event.event_id, "requested": requested, "available": available}
    if ticket_type is not None:
        facts["ticket_type"] = ticket_type
    return Failure(Reason.SOLD_OUT, message, **facts)
