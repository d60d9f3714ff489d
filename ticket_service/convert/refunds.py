"""Conversion of refunds: their requests, and their messages."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from ticket_service.convert.money import money_message, read_price
from ticket_service.domain.owed_refunds import OwedRefund, OwedRefundQuery, OwedRefundStatus
from ticket_service.domain.refund_orders import Confirmation
from ticket_service.domain.ticket_refunds import RefundRequest, TicketRefund, TicketRefundStatus
from ticketing.chassis.callers import Caller
from ticketing.chassis.paging import page_size
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import refund_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb

_STATUSES: Final = {
    status: refund_pb2.TicketRefundStatus.Value(f"TICKET_REFUND_STATUS_{status}") for status in TicketRefundStatus
}
_OWED_STATUSES: Final = {
    status: refund_pb2.OwedRefundStatus.Value(f"OWED_REFUND_STATUS_{status}") for status in OwedRefundStatus
}


@dataclass(frozen=True, slots=True)
class ConfirmedRefund:
    """A refund that was made elsewhere; one of the three ids is its cause."""

    cancellation_id: UUID | None
    purchase_id: UUID | None
    ticket_refund_id: UUID | None
    made: Confirmation


def read_confirm_refund(request: pb.ConfirmRefundRequest) -> ConfirmedRefund:
    """Read a ConfirmRefundRequest."""
    fields = Fields(request)
    cause = request.WhichOneof("refunded") or "cancellation_id"
    ids: dict[str, Any] = dict.fromkeys(("cancellation_id", "purchase_id", "ticket_refund_id"))
    ids[cause] = fields.uuid(cause)
    refund_id = fields.text("refund_id")
    fields.check()
    return ConfirmedRefund(**ids, made=Confirmation(refund_id, request.paid_by_hand))


def read_refund(request: pb.RefundTicketRequest, caller: Caller) -> RefundRequest:
    """Read a RefundTicketRequest."""
    fields = Fields(request)
    request_id, ticket_id = fields.uuid("request_id"), fields.uuid("ticket_id")
    amount = ("", 0)
    if request.HasField("amount"):
        amount = read_price(fields, "amount", request.amount)
        if amount[1] == 0:
            fields.inside("amount", request.amount).violate("minor_units", "is less than 1")
    else:
        fields.violate("amount", "is required")
    reason = fields.text("reason")
    fields.check()
    return RefundRequest(caller.subject, request_id, ticket_id, amount, reason)


def read_list_owed(request: pb.ListOwedRefundsRequest) -> tuple[OwedRefundQuery, int]:
    """Read the filter and the page size of a ListOwedRefundsRequest."""
    fields = Fields(request)
    query = OwedRefundQuery(fields.optional_uuid("event_id"), fields.optional_enum("status", _OWED_STATUSES))
    fields.check()
    return query, page_size(request.page_size)


def ticket_refund_message(refund: TicketRefund) -> refund_pb2.TicketRefund:
    """Build the message of a refund without a cancellation."""
    return refund_pb2.TicketRefund(
        ticket_refund_id=str(refund.ticket_refund_id),
        ticket_id=str(refund.ticket_id),
        status=_STATUSES[refund.status],
        amount=money_message(refund.currency, refund.amount),
        reason=refund.reason,
        refund_id=refund.refund_id or "",
        create_time=timestamp(refund.create_time),
        complete_time=timestamp(refund.complete_time),
    )


def owed_refund_message(owed: OwedRefund) -> refund_pb2.OwedRefund:
    """Build the message of a refund that is owed."""
    return refund_pb2.OwedRefund(
        event_id=str(owed.event_id),
        purchase_id=str(owed.purchase_id),
        ticket_id=_text(owed.ticket_id),
        cancellation_id=_text(owed.cancellation_id),
        ticket_refund_id=_text(owed.ticket_refund_id),
        amount=money_message(owed.currency, owed.amount),
        status=_OWED_STATUSES[owed.status],
        provider=owed.provider,
        payment_id=owed.payment_id,
        failure=owed.failure or "",
        attempts=owed.attempts,
        since_time=timestamp(owed.since_time),
        next_try_time=timestamp(owed.next_try_time),
    )


def _text(identifier: UUID | None) -> str:
    return "" if identifier is None else str(identifier)
