"""Conversion of cancellations to messages."""

from typing import Final

from ticket_service.convert.money import money_message
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import ticket_pb2

CANCELLATION_STATUSES: Final = {
    status: ticket_pb2.CancellationStatus.Value(f"CANCELLATION_STATUS_{status}") for status in CancellationStatus
}


def cancellation_message(cancellation: Cancellation) -> ticket_pb2.Cancellation:
    """Build the message of a cancellation."""
    return ticket_pb2.Cancellation(
        cancellation_id=str(cancellation.cancellation_id),
        ticket_id=str(cancellation.ticket_id),
        status=CANCELLATION_STATUSES[cancellation.status],
        refund_amount=money_message(cancellation.currency, cancellation.refund_amount),
        refund_percent=cancellation.refund_percent,
        refund_id=cancellation.refund_id or "",
        reason=cancellation.reason,
        create_time=timestamp(cancellation.create_time),
        complete_time=timestamp(cancellation.complete_time),
        failure=cancellation.failure or "",
    )
