"""Parsing of the requests of RevocationService, and conversion of outcomes to messages."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from scan_service.convert.enums import TICKET_STATUSES
from scan_service.domain.revocations import Revocation, RevocationOutcome
from ticketing.admission.tickets import TicketStatus
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import revocation_service_pb2 as pb

# Gates decide by these; the ticket service blocks a ticket through the feed.
_STATUSES: Final = {status: number for status, number in TICKET_STATUSES.items() if status != TicketStatus.BLOCKED}


def read_revoke_tickets(request: pb.RevokeTicketsRequest) -> tuple[UUID, Sequence[Revocation]]:
    """Read the event and the revocations of a RevokeTicketsRequest."""
    fields = Fields(request)
    event_id = fields.uuid("event_id")
    revocations = [
        Revocation(
            revocation_id=revocation.uuid("revocation_id"),
            ticket_id=revocation.uuid("ticket_id"),
            status=revocation.enum("status", _STATUSES),
            issue=revocation.number("issue"),
            even_if_checked_in=revocation.message.even_if_checked_in,
        )
        for revocation in fields.each("revocations", request.revocations)
    ]
    fields.check()
    return event_id, revocations


def revoke_tickets_response(
    revocations: Sequence[Revocation], outcomes: Sequence[RevocationOutcome | None]
) -> pb.RevokeTicketsResponse:
    """Build the response with the outcome of each revocation; None: it is undecided."""
    return pb.RevokeTicketsResponse(
        outcomes=[
            pb.RevocationOutcome(ticket_id=str(revocation.ticket_id), undecided=True)
            if outcome is None
            else pb.RevocationOutcome(
                ticket_id=str(outcome.ticket_id),
                revoked=outcome.check_in_time is None,
                check_in_time=timestamp(outcome.check_in_time),
            )
            for revocation, outcome in zip(revocations, outcomes, strict=True)
        ]
    )
