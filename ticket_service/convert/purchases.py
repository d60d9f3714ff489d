"""Conversion of purchases to messages, and parsing of the requests of PurchaseService."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from ticket_service.convert.addresses import address_of_claim, read_email, read_wanted_email
from ticket_service.convert.enums import TICKET_TYPES
from ticket_service.convert.money import money_message, read_price
from ticket_service.domain.access import acts_as, organizer_of
from ticket_service.domain.contacts import EmailCorrection
from ticket_service.domain.customers import Customer
from ticket_service.domain.events import TicketType
from ticket_service.domain.holds import Payment
from ticket_service.domain.languages import normalised, wanted_language
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.queries import PurchaseQuery
from ticket_service.domain.sales import Order
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failures import FORBIDDEN, Failure
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import purchase_pb2, ticket_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as pb

PURCHASE_STATUSES: Final = {
    status: purchase_pb2.PurchaseStatus.Value(f"PURCHASE_STATUS_{status}") for status in PurchaseStatus
}

PURCHASE: Final = "/ticketing.tickets.v1.PurchaseService/PurchaseTickets"
CONFIRM: Final = "/ticketing.tickets.v1.PurchaseService/ConfirmPurchase"


def purchase_message(caller: Caller, purchase: Purchase, tickets: Sequence[ticket_pb2.Ticket]) -> purchase_pb2.Purchase:
    """Build the message of a purchase; of all callers, buyers and services alone read the secret of the payment."""
    may_pay = acts_as(caller, purchase.user_id) or caller.is_any(Role.SERVICE)
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
        language=purchase.language,
    )


def read_order(request: pb.PurchaseTicketsRequest, caller: Caller, *, smtputf8: bool) -> Order:
    """Read the order of a PurchaseTicketsRequest; `smtputf8` as for `read_email`.

    Raises:
        Failure: INVALID_ARGUMENT; FORBIDDEN for a caller who may neither bring a payment nor buy for another user.
    """
    fields = Fields(request)
    request_id = fields.uuid("request_id")
    event_id = fields.uuid("event_id")
    quantities = _quantities(fields)
    payment_id, payment_method = _payment(fields)
    user_id = fields.text("user_id") or caller.subject
    expected_total = None
    if request.HasField("expected_total"):
        expected_total = read_price(fields, "expected_total", request.expected_total)
    elif payment_id is not None:
        fields.violate("expected_total", "is required with external_payment_id")
    email = read_email(fields, smtputf8=smtputf8)
    metadata = fields.struct("metadata")
    language = wanted_language(_language(fields), metadata)
    fields.check()
    acts_for_others = payment_id is not None or bool(request.user_id)
    is_guest = not request.user_id and not caller.is_any(Role.USER)
    if acts_for_others and not caller.is_any(Role.SERVICE, Role.ORGANIZER):
        role = ",".join(sorted(caller.roles))
        message = "only services and organizers may bring a payment or buy for another user"
        raise Failure(FORBIDDEN, message, method=PURCHASE, role=role)
    return Order(
        caller=caller.subject,
        request_id=request_id,
        fingerprint=_fingerprint(event_id, quantities, (payment_id, payment_method), user_id),
        event_id=event_id,
        quantities=quantities,
        user_id=user_id,
        email=email or address_of_claim(caller.email, smtputf8=smtputf8),
        payment_id=payment_id,
        expected_total=expected_total,
        metadata=metadata,
        organizer_id=organizer_of(caller),
        own_events_only=not caller.is_any(Role.SERVICE) and (acts_for_others or not caller.is_any(Role.USER)),
        payment_method=payment_method,
        customer=_customer(user_id, email, is_guest=is_guest),
        is_guest=is_guest,
        language=language,
    )


def read_confirmation(request: pb.ConfirmPurchaseRequest, caller: Caller) -> tuple[UUID, Payment | None]:
    """Read the purchase and its payment; None: the provider has the payment.

    Raises:
        Failure: INVALID_ARGUMENT; FORBIDDEN for a caller who may not bring a payment.
    """
    fields = Fields(request)
    purchase_id = fields.uuid("purchase_id")
    if not request.external_payment_id and not request.HasField("paid"):
        fields.check()
        return purchase_id, None
    payment_id = fields.text("external_payment_id")
    if not payment_id:
        fields.violate("external_payment_id", "is required")
    paid = read_price(fields, "paid", request.paid)
    fields.check()
    if not caller.is_any(Role.SERVICE, Role.ORGANIZER):
        role = ",".join(sorted(caller.roles))
        raise Failure(FORBIDDEN, "only services and organizers may bring a payment", method=CONFIRM, role=role)
    return purchase_id, Payment(payment_id, paid)


def read_query(request: pb.ListPurchasesRequest) -> PurchaseQuery:
    """Read the filter of a ListPurchasesRequest."""
    fields = Fields(request)
    query = PurchaseQuery(
        event_id=fields.optional_uuid("event_id"),
        user_id=fields.text("user_id"),
        payment_id=fields.text("payment_id"),
        email=read_wanted_email(fields),
        status=fields.optional_enum("status", PURCHASE_STATUSES),
    )
    fields.check()
    return query


def read_correction(request: pb.CorrectEmailRequest, *, smtputf8: bool) -> EmailCorrection:
    """Read a CorrectEmailRequest; `smtputf8` as for `read_email`."""
    fields = Fields(request)
    request_id = fields.uuid("request_id")
    is_of_ticket = request.WhichOneof("recipient") == "ticket_id"
    target_id = fields.uuid("ticket_id" if is_of_ticket else "purchase_id")
    email, language = read_email(fields, smtputf8=smtputf8), _language(fields)
    if language and is_of_ticket:
        fields.violate("language", "must be empty with ticket_id: a ticket has the language of its purchase")
    fields.check()
    return EmailCorrection(request_id, target_id, is_of_ticket, email, language)


def _language(fields: Fields[Any]) -> str:
    """Read the field `language`, a BCP 47 tag that may be empty."""
    tag = fields.text("language")
    if not tag:
        return ""
    found = normalised(tag)
    if found is None and not fields.at_fault("language"):
        fields.violate("language", "is not the tag of a language (BCP 47), such as de or pt-BR")
    return found or ""


def _customer(user_id: str, email: str, *, is_guest: bool) -> Customer | None:
    if not is_guest:
        return Customer(user_id=user_id)
    # The e-mail claim of a seller's token is not the address of a guest.
    return Customer(address=email.lower()) if email else None


def _quantities(fields: Fields[pb.PurchaseTicketsRequest]) -> tuple[tuple[TicketType, int], ...]:
    quantities: dict[TicketType, int] = {}
    for item in fields.each("items", fields.message.items):
        ticket_type = item.enum("ticket_type", TICKET_TYPES)
        if ticket_type in quantities and not item.at_fault("ticket_type"):
            item.violate("ticket_type", "occurs twice")
        quantities[ticket_type] = item.number("quantity")
    return tuple(quantities.items())


def _payment(fields: Fields[pb.PurchaseTicketsRequest]) -> tuple[str | None, str | None]:
    """Read the payment that was taken or the payment method to charge; at most one of them."""
    payment = fields.message.WhichOneof("payment")
    return (
        fields.text("external_payment_id") if payment == "external_payment_id" else None,
        fields.text("payment_method_id") if payment == "payment_method_id" else None,
    )


def _fingerprint(
    event_id: UUID, quantities: Sequence[tuple[TicketType, int]], payment: tuple[str | None, str | None], user_id: str
) -> bytes:
    payment_id, payment_method = payment
    items = [f"{ticket_type} {quantity}" for ticket_type, quantity in sorted(quantities)]
    # No part contains a NUL, so no two contents give the same text; a missing payment differs from an empty one.
    parts = ["PurchaseTickets", event_id.hex, user_id, *items]
    parts += [] if payment_id is None else ["paid", payment_id]
    parts += [] if payment_method is None else ["charge", payment_method]
    return hashlib.sha256("\0".join(parts).encode()).digest()
