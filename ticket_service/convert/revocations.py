"""Conversion of revocations to requests for the scan service, and parsing of its outcomes."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from ticket_service.convert.enums import TICKET_STATUSES
from ticket_service.domain.revocations import Outcome, Revocation
from ticketing.scans.v1 import revocation_service_pb2 as pb


def revoke_request(event_id: UUID, revocations: Sequence[Revocation]) -> pb.RevokeTicketsRequest:
    """Build the request that revokes tickets of an event."""
    return pb.RevokeTicketsRequest(
        event_id=str(event_id),
        revocations=[
            pb.Revocation(
                revocation_id=str(revocation.revocation_id),
                ticket_id=str(revocation.ticket_id),
                status=TICKET_STATUSES[revocation.status],
                issue=revocation.issue,
                even_if_checked_in=revocation.even_if_checked_in,
            )
            for revocation in revocations
        ],
        skip_locked=True,
    )


def revoke_event_request(event_id: UUID) -> pb.RevokeEventRequest:
    """Build the request that revokes all tickets of an event."""
    return pb.RevokeEventRequest(event_id=str(event_id))


def read_outcomes(response: pb.RevokeTicketsResponse, revocations: Sequence[Revocation]) -> list[Outcome | None]:
    """Read the outcomes of a request with these revocations; None: the scan service has decided nothing.

    Raises:
        ValueError: the outcomes are of other tickets, or in another order.
    """
    if [outcome.ticket_id for outcome in response.outcomes] != [str(one.ticket_id) for one in revocations]:
        raise ValueError("the outcomes are not those of the requested tickets, in order")
    return [
        None
        if one.undecided
        else Outcome(one.revoked, one.check_in_time.ToDatetime(tzinfo=UTC) if one.HasField("check_in_time") else None)
        for one in response.outcomes
    ]
