"""Conversion of cancellations to messages."""

from typing import Final

from ticket_service.convert.money import money_message
from ticket_service.domain.cancellation_preview import CancellationPreview, TicketOutcome
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.refund_policy import RefundBasis
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_service_pb2, ticket_pb2

CANCELLATION_STATUSES: Final = {
    status: ticket_pb2.CancellationStatus.Value(f"CANCELLATION_STATUS_{status}") for status in CancellationStatus
}

REFUND_BASES: Final = {basis: ticket_pb2.RefundBasis.Value(f"REFUND_BASIS_{basis}") for basis in RefundBasis}

TICKET_OUTCOMES: Final = {
    outcome: event_service_pb2.TicketOutcome.Value(f"TICKET_OUTCOME_{outcome}") for outcome in TicketOutcome
}


def preview_message(preview: CancellationPreview) -> event_service_pb2.PreviewEventCancellationResponse:
    """Build the message of the preview of an event cancellation."""
    return event_service_pb2.PreviewEventCancellationResponse(
        lines=[
            event_service_pb2.CancellationPreviewLine(
                outcome=TICKET_OUTCOMES[line.outcome],
                provider=line.provider,
                tickets=line.tickets,
                paid=money_message(line.currency, line.paid),
                refund=money_message(line.currency, line.refund),
            )
            for line in preview.lines
        ],
        held_places=preview.held_places,
    )


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
        refund_basis=REFUND_BASES[cancellation.refund_basis]
        if cancellation.refund_basis is not None
        else ticket_pb2.REFUND_BASIS_UNSPECIFIED,
    )
