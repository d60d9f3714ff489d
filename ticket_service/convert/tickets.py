"""Conversion of tickets to messages."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.struct_pb2 import Struct

from ticket_service.convert.enums import TICKET_STATUSES, TICKET_TYPES
from ticket_service.convert.events import event_message
from ticket_service.convert.money import money_message
from ticket_service.domain.codes import Codes
from ticket_service.domain.secrets import Secrets, secrets_of
from ticket_service.domain.tickets import SoldTicket
from ticket_service.domain.tokens import Signer
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.times import fill_timestamp, timestamp
from ticketing.tickets.v1 import ticket_pb2


def ticket_message(
    sold: SoldTicket, now: datetime, secrets: Secrets | None, *, show_payment: bool
) -> ticket_pb2.Ticket:
    """Build the BASIC view of a ticket as of `now`.

    `secrets` is None for a caller who may not open a gate with the code and the token. `show_payment` adds the id of the
    payment.
    """
    ticket = sold.ticket
    message = ticket_pb2.Ticket(
        ticket_id=str(ticket.ticket_id),
        purchase_id=str(ticket.purchase_id),
        event_id=str(ticket.event_id),
        user_id=ticket.user_id,
        ticket_type=TICKET_TYPES[ticket.ticket_type],
        price_paid=money_message(sold.event.currency, ticket.price),
        valid_from_time=timestamp(sold.valid_from),
        valid_until_time=timestamp(sold.valid_until),
        check_in_time=timestamp(ticket.check_in_time),
        metadata=_struct(sold),
        issue=ticket.issue,
        create_time=timestamp(ticket.create_time),
        update_time=timestamp(ticket.update_time),
    )
    fill_present_fields(message, sold, now)
    if ticket.refunded:
        message.refunded.CopyFrom(money_message(sold.event.currency, ticket.refunded))
    if secrets is not None:
        message.code = secrets.code
        message.token = secrets.token
    if show_payment:
        message.payment_id = sold.payment_id
    if sold.cancellation_id is not None:
        message.cancellation_id = str(sold.cancellation_id)
    return message


def fill_present_fields(message: ticket_pb2.Ticket, sold: SoldTicket, now: datetime) -> None:
    """Set the fields that depend on the present time: the status, and the refund of a cancellation."""
    message.status = TICKET_STATUSES[sold.status_at(now)]
    is_cancellable, until = sold.is_cancellable_at(now), sold.full_refund_until
    if is_cancellable:
        refund = message.cancel_refund
        refund.currency_code, refund.minor_units = sold.event.currency, sold.refund_at(now).amount
    else:
        message.ClearField("cancel_refund")
    if is_cancellable and until is not None and now < until:
        fill_timestamp(message.full_refund_until_time, until)
    else:
        message.ClearField("full_refund_until_time")


@dataclass(frozen=True, slots=True)
class TicketMessages:
    """The builder of the messages of tickets, each with the fields that its caller may read."""

    codes: Codes
    # The function returns the key that signs tokens now.
    signer: Callable[[], Signer]
    clock: Clock

    def secrets(self, sold: SoldTicket) -> Secrets:
        """Derive the code and sign the token of a ticket."""
        return secrets_of(sold.ticket, self.codes, self.signer())

    def basic(self, caller: Caller, sold: SoldTicket) -> ticket_pb2.Ticket:
        """Build the BASIC view."""
        secrets = self.secrets(sold) if sold.may_be_opened_by(caller) else None
        return ticket_message(sold, self.clock(), secrets, show_payment=sold.may_show_payment_to(caller))

    def full(self, caller: Caller, sold: SoldTicket) -> ticket_pb2.Ticket:
        """Build the FULL view without the picture of the QR code."""
        message = self.basic(caller, sold)
        message.event.CopyFrom(event_message(sold.event, self.clock()))
        return message


def _struct(sold: SoldTicket) -> Struct | None:
    if not sold.metadata:
        return None
    message = Struct()
    message.update(sold.metadata)  # type: ignore[arg-type]  # it came in as a Struct
    return message
