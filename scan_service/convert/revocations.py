"""The messages of RevocationService."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from scan_service.convert.enums import TICKET_STATUSES, read_enum
from scan_service.domain.revocations import Revocation, RevocationOutcome
from ticketing.admission.tickets import TicketStatus
from ticketing.admission.tokens import MAX_ISSUE
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import revocation_service_pb2 as pb

MAX_REVOCATIONS: Final = 1_000
_STATUSES: Final = {status: number for status, number in TICKET_STATUSES.items() if status != TicketStatus.BLOCKED}


def read_revoke_tickets(request: pb.RevokeTicketsRequest) -> tuple[UUID, Sequence[Revocation]]:
    """Read the event and what to take back.

    Raises:
        Failure: INVALID_ARGUMENT, naming every field at fault.
    """
    fields = Fields()
    event_id = fields.uuid("event_id", request.event_id)
    if len(request.revocations) > MAX_REVOCATIONS:
        fields.violate("revocations", f"holds more than {MAX_REVOCATIONS}")
        fields.check()
    revocations = [
        _revocation(fields, message, f"revocations[{index}].") for index, message in enumerate(request.revocations)
    ]
    fields.check()
    return event_id, revocations


def _revocation(fields: Fields, message: pb.Revocation, path: str) -> Revocation:
    return Revocation(
        revocation_id=fields.uuid(f"{path}revocation_id", message.revocation_id),
        ticket_id=fields.uuid(f"{path}ticket_id", message.ticket_id),
        status=read_enum(fields, f"{path}status", message.status, _STATUSES),
        issue=fields.number(f"{path}issue", message.issue, minimum=1, maximum=MAX_ISSUE),
        even_if_checked_in=message.even_if_checked_in,
    )


def read_revoke_event(request: pb.RevokeEventRequest) -> UUID:
    """Read the event.

    Raises:
        Failure: INVALID_ARGUMENT.
    """
    fields = Fields()
    event_id = fields.uuid("event_id", request.event_id)
    fields.check()
    return event_id


def revoke_tickets_response(outcomes: Sequence[RevocationOutcome]) -> pb.RevokeTicketsResponse:
    """Say what became of each."""
    return pb.RevokeTicketsResponse(
        outcomes=[
            pb.RevocationOutcome(
                ticket_id=str(outcome.ticket_id),
                revoked=outcome.check_in_time is None,
                check_in_time=timestamp(outcome.check_in_time),
            )
            for outcome in outcomes
        ]
    )
