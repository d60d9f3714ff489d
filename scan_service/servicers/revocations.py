"""The servicer of RevocationService."""

from typing import Any

from scan_service.convert import revocations as convert
from scan_service.use_cases.revocations import Revocations
from ticketing.chassis.parsing import read_uuid
from ticketing.scans.v1 import revocation_service_pb2 as pb
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceServicer


class RevocationsServicer(RevocationServiceServicer):
    """Serves RevocationService to the ticket service."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations

    async def RevokeTickets(self, request: pb.RevokeTicketsRequest, _context: Any) -> pb.RevokeTicketsResponse:  # noqa: N802 - the contract's name
        """Revoke tickets."""
        event_id, revocations = convert.read_revoke_tickets(request)
        outcomes = await self._revocations.revoke_tickets(event_id, revocations, skip_locked=request.skip_locked)
        return convert.revoke_tickets_response(revocations, outcomes)

    async def RevokeEvent(self, request: pb.RevokeEventRequest, _context: Any) -> pb.RevokeEventResponse:  # noqa: N802 - the contract's name
        """End the admission to an event."""
        checked_in = await self._revocations.revoke_event(read_uuid(request, "event_id"))
        return pb.RevokeEventResponse(checked_in=checked_in)
