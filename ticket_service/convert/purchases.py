"""Purchases as messages, and orders read from them."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from ticket_service.convert.enums import TICKET_TYPES, read_enum
from ticket_service.convert.money import money_message, read_price
from ticket_service.domain.access import organizer_of
from ticket_service.domain.events import MAX_PRICE, TicketType
from ticket_service.domain.holds import Payment
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.sales import Order
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.failures import FORBIDDEN, Failure
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import purchase_pb2, purchase_service_pb2, ticket_pb2

PURCHASE_STATUSES: Final = {
    status: purchase_pb2.PurchaseStatus.Value(f"PURCHASE_STATUS_{status}") for status in PurchaseStatus
}

METHOD: Final = "/ticketing.tickets.v1.PurchaseService/PurchaseTickets"
CONFIRM: Final = "/ticketing.tickets.v1.PurchaseService/ConfirmPurchase"
MAX_PAYMENT_ID: Final = 255
# What nobody means to buy; how many an event lets one buyer have is its own affair.
MAX_QUANTITY: Final = 1_000
MAX_TOTAL: Final = len(TICKET_TYPES) * MAX_QUANTITY * MAX_PRICE
MAX_METADATA_BYTES: Final = 4 * 1024
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def purchase_message(caller: Caller, purchase: Purchase, tickets: Sequence[ticket_pb2.Ticket]) -> purchase_pb2.Purchase:
    """Build the message of a purchase for `caller`; only the buyer, and who acts for them, may finish its payment."""
    may_pay = caller.subject == purchase.user_id or caller.is_any(Role.SERVICE)
    return purchase_pb2.Purchase(
        purchase_id=str(purchase.purchase_id),
        event_id=str(purchase.event_id),
        user_id=purchase.user_id,
        items=[
            purchase_pb2.PurchaseItem(
                ticket_type=TICKET_TYPES[item.ticket_type],
                quantity=item.quantity,
                unit_price=money_message(purchase.currency, item.unit_price),
            )
            for item in purchase.items
        ],
        total=money_message(purchase.currency, purchase.total),
        status=PURCHASE_STATUSES[purchase.status],
        payment=purchase_pb2.Payment(
            provider=purchase.provider,
            payment_id=purchase.payment_id or "",
            client_secret=(purchase.client_secret or "") if may_pay else "",
            decline_code=purchase.decline_code or "",
        ),
        hold_expire_time=timestamp(purchase.hold_expire_time) if purchase.status is PurchaseStatus.HELD else None,
        tickets=tickets,
        create_time=timestamp(purchase.create_time),
        complete_time=timestamp(purchase.complete_time),
    )


def read_order(request: purchase_service_pb2.PurchaseTicketsRequest, caller: Caller) -> Order:
    """Read what `caller` asks to buy.

    Raises:
        Failure: INVALID_ARGUMENT; FORBIDDEN for who may neither bring a payment nor buy for somebody else.
    """
    fields = Fields()
    request_id = fields.uuid("request_id", request.request_id)
    event_id = fields.uuid("event_id", request.event_id)
    quantities = _quantities(fields, request.items)
    payment_id, payment_method = _payment(fields, request)
    user_id = fields.text("user_id", request.user_id, max_length=255) or caller.subject
    expected_total = None
    if request.HasField("expected_total"):
        expected_total = read_price(fields, "expected_total", request.expected_total, MAX_TOTAL)
    elif payment_id is not None:
        fields.violate("expected_total", "is required with external_payment_id")
    email = read_email(fields, request.email)
    metadata = {}
    if request.HasField("metadata"):
        metadata = fields.struct("metadata", request.metadata, max_bytes=MAX_METADATA_BYTES)
    fields.check()
    acts_for_others = payment_id is not None or bool(request.user_id)
    if acts_for_others and not caller.is_any(Role.SERVICE, Role.ORGANIZER):
        role = ",".join(sorted(caller.roles))
        message = "only services and organizers may bring a payment or buy for somebody else"
        raise Failure(FORBIDDEN, message, method=METHOD, role=role)
    return Order(
        caller=caller.subject,
        request_id=request_id,
        fingerprint=_fingerprint(event_id, quantities, (payment_id, payment_method), user_id),
        event_id=event_id,
        quantities=quantities,
        user_id=user_id,
        email=email or caller.email,
        payment_id=payment_id,
        expected_total=expected_total,
        metadata=metadata,
        organizer_id=organizer_of(caller),
        own_events_only=not caller.is_any(Role.SERVICE) and (acts_for_others or not caller.is_any(Role.USER)),
        payment_method=payment_method,
    )


def read_confirmation(
    request: purchase_service_pb2.ConfirmPurchaseRequest, caller: Caller
) -> tuple[UUID, Payment | None]:
    """Read which purchase was paid, and by what; None: its provider is to be asked.

    Raises:
        Failure: INVALID_ARGUMENT; FORBIDDEN for who may not bring a payment.
    """
    fields = Fields()
    purchase_id = fields.uuid("purchase_id", request.purchase_id)
    if not request.external_payment_id and not request.HasField("paid"):
        fields.check()
        return purchase_id, None
    payment_id = fields.text(
        "external_payment_id", request.external_payment_id, min_length=1, max_length=MAX_PAYMENT_ID
    )
    paid = read_price(fields, "paid", request.paid, MAX_TOTAL)
    fields.check()
    if not caller.is_any(Role.SERVICE, Role.ORGANIZER):
        role = ",".join(sorted(caller.roles))
        raise Failure(FORBIDDEN, "only services and organizers may bring a payment", method=CONFIRM, role=role)
    return purchase_id, Payment(payment_id, paid)


def read_release(request: purchase_service_pb2.ReleasePurchaseRequest) -> UUID:
    """Read which purchase is given up."""
    fields = Fields()
    purchase_id = fields.uuid("purchase_id", request.purchase_id)
    fields.check()
    return purchase_id


def _quantities(fields: Fields, items: Sequence[purchase_pb2.PurchaseItem]) -> tuple[tuple[TicketType, int], ...]:
    if not items:
        fields.violate("items", "are required")
    # A type is there at most once, so more than there are types cannot be right; the rest is not looked at.
    if len(items) > len(TICKET_TYPES):
        fields.violate("items", "are more than there are ticket types")
        return ()
    quantities: dict[TicketType, int] = {}
    for index, item in enumerate(items):
        field = f"items[{index}].ticket_type"
        kind = read_enum(fields, field, item.ticket_type, TICKET_TYPES)
        if kind in quantities and not fields.at_fault(field):
            fields.violate(field, "is there twice")
        quantities[kind] = fields.number(f"items[{index}].quantity", item.quantity, minimum=1, maximum=MAX_QUANTITY)
    return tuple(quantities.items())


def _payment(fields: Fields, request: purchase_service_pb2.PurchaseTicketsRequest) -> tuple[str | None, str | None]:
    """Read by which payment it is paid already, or what is to be charged."""
    if request.WhichOneof("payment") == "external_payment_id":
        return fields.text(
            "external_payment_id", request.external_payment_id, min_length=1, max_length=MAX_PAYMENT_ID
        ), None
    if request.WhichOneof("payment") == "payment_method_id":
        return None, fields.text(
            "payment_method_id", request.payment_method_id, min_length=1, max_length=MAX_PAYMENT_ID
        )
    return None, None


def read_email(fields: Fields, email: str) -> str:
    """Read an e-mail address that may be absent."""
    fields.text("email", email, max_length=254)
    if email and not _EMAIL.fullmatch(email):
        fields.violate("email", "is not an e-mail address")
    return email


def _fingerprint(
    event_id: UUID,
    quantities: Sequence[tuple[TicketType, int]],
    payment: tuple[str | None, str | None],
    user_id: str,
) -> bytes:
    payment_id, payment_method = payment
    items = [f"{kind} {quantity}" for kind, quantity in sorted(quantities)]
    # No part holds a NUL, so no two contents read the same; a missing payment is not an empty one.
    parts = ["PurchaseTickets", event_id.hex, user_id, *items]
    parts += [] if payment_id is None else ["paid", payment_id]
    parts += [] if payment_method is None else ["charge", payment_method]
    return hashlib.sha256("\0".join(parts).encode()).digest()
