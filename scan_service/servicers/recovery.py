"""The servicer of RecoveryService."""

from typing import Any

from scan_service.convert import recovery as convert
from scan_service.use_cases.recovery import KnownState
from ticketing.scans.v1 import recovery_service_pb2 as pb
from ticketing.scans.v1.recovery_service_pb2_grpc import RecoveryServiceServicer


class RecoveryServicer(RecoveryServiceServicer):
    """Serves RecoveryService to the ticket service."""

    def __init__(self, state: KnownState) -> None:
        self._state = state

    async def ListKnownEvents(self, request: pb.ListKnownEventsRequest, _context: Any) -> pb.ListKnownEventsResponse:  # noqa: N802 - the contract's name
        """Return a page of events."""
        return convert.events_response(await self._state.events(*convert.read_events_request(request)))

    async def ListKnownTickets(self, request: pb.ListKnownTicketsRequest, _context: Any) -> pb.ListKnownTicketsResponse:  # noqa: N802 - the contract's name
        """Return a page of tickets of one event."""
        return convert.tickets_response(await self._state.tickets(*convert.read_tickets_request(request)))

    async def ListKnownKeys(self, _request: pb.ListKnownKeysRequest, _context: Any) -> pb.ListKnownKeysResponse:  # noqa: N802 - the contract's name
        """Return all keys."""
        return convert.keys_response(*await self._state.keys())
