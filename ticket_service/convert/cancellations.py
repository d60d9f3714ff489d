"""Cancellations as messages, to callers and to the scan service."""

from collections.abc import Sequence
from datetime import UTC
from typing import Final
from uuid import UUID

from ticket_service.convert.enums import TICKET_STATUSES
from ticket_service.convert.money import money_message
from ticket_service.convert.times import timestamp
from ticket_service.domain.cancellations import Cancellation, CancellationStatus, Outcome
from ticketing.scans.v1 import revocation_service_pb2
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


def revoke_request(event_id: UUID, pending: Sequence[Cancellation]) -> revocation_service_pb2.RevokeTicketsRequest:
    """Build the request that takes admission rights back; each is settled once under its cancellation's id."""
    return revocation_service_pb2.RevokeTicketsRequest(
        event_id=str(event_id),
        revocations=[
            revocation_service_pb2.Revocation(
                revocation_id=str(cancellation.cancellation_id),
                ticket_id=str(cancellation.ticket_id),
                status=TICKET_STATUSES[cancellation.ticket_status],
                issue=cancellation.issue,
            )
            for cancellation in pending
        ],
    )


def read_outcomes(
    response: revocation_service_pb2.RevokeTicketsResponse, pending: Sequence[Cancellation]
) -> list[Outcome]:
    """Read the answer to it.

    Raises:
        ValueError: it is not the answer to that request.
    """
    if [outcome.ticket_id for outcome in response.outcomes] != [str(one.ticket_id) for one in pending]:
        raise ValueError("the outcomes are not of the tickets asked for, in order")
    return [
        Outcome(
            outcome.revoked,
            outcome.check_in_time.ToDatetime(tzinfo=UTC) if outcome.HasField("check_in_time") else None,
        )
        for outcome in response.outcomes
    ]
