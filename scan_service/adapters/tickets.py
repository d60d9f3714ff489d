"""The ticket service, as this service calls it: its feed, its keys, and where check-ins and incidents are reported."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any, Final, TypeVar

import grpc.aio

from scan_service.convert.feed import check_in_message, conflict_of, incident_message, key_rows, pages_of
from scan_service.domain.feed import CheckIn, Conflict, IncidentReport, Page, Position
from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.peer_client import CALL_SECONDS, PeerClient
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

# A feed that has been silent for so long has told everything: it tells news at once.
SILENCE_SECONDS: Final = 1.0
# Whose changes come in one message: as many as the ticket service reads together.
MAX_EVENTS: Final = 256

T = TypeVar("T")


class TicketService:
    """Calls the ticket service; where it does not answer, everything here raises DEPENDENCY_UNAVAILABLE."""

    def __init__(self, peer: PeerClient) -> None:
        self._peer = peer

    async def signing_keys(self) -> list[dict[str, Any]]:
        """Return the public keys as rows of signing_keys."""
        request = pb.GetSigningKeysRequest()
        call = TicketFeedServiceStub(self._peer.channel).GetSigningKeys(
            request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        return key_rows(await _answer(call))

    async def report(self, check_ins: Sequence[CheckIn]) -> list[Conflict]:
        """Report check-ins; return those that cannot be."""
        request = pb.ReportCheckInsRequest(check_ins=[check_in_message(check_in) for check_in in check_ins])
        call = TicketFeedServiceStub(self._peer.channel).ReportCheckIns(
            request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        return [conflict_of(conflict) for conflict in (await _answer(call)).conflicts]

    async def report_incidents(self, incidents: Sequence[IncidentReport]) -> None:
        """Report incidents; those that were reported before do no harm."""
        request = pb.ReportIncidentsRequest(incidents=[incident_message(incident) for incident in incidents])
        call = TicketFeedServiceStub(self._peer.channel).ReportIncidents(
            request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        await _answer(call)

    async def watch(self, position: Position) -> AsyncGenerator[Sequence[Page] | None, None]:
        """Yield what changed after `position`, some pages at a time, and None whenever the feed is silent; end with it."""
        request = pb.WatchTicketsRequest(
            after_revisions=position.revisions, epoch=position.epoch, max_events=MAX_EVENTS
        )
        # Without a deadline: it is to last. The channel's pings notice a peer that is gone.
        call = TicketFeedServiceStub(self._peer.channel).WatchTickets(request, metadata=self._peer.metadata())
        reading: asyncio.Future[object] | None = None
        try:
            while True:
                # Kept over a silence: to give up a read is to give up the call.
                reading = reading or asyncio.ensure_future(_answer(call.read()))
                done, _ = await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
                if not done:
                    yield None
                    continue
                message, reading = reading.result(), None
                if not isinstance(message, pb.WatchTicketsResponse):
                    return
                yield pages_of(message)
        finally:
            call.cancel()
            if reading is not None:
                reading.cancel()
                await asyncio.wait({reading})


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise dependency_unavailable("ticket service") from error
